"""What fields a submission has: its JSON schema, and what kind of field each part of that asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

from pydantic import BaseModel

from app.jobs.schemas import Envelope
from ddcore.spec import CATALOGS, JobSpec

Schema = Mapping[str, Any]
Kind = Literal["component", "terms", "group", "list", "labels", "choice", "flag", "integer", "number", "text", "json"]

TERMS = "regularizers"
"""The only list of components that each stand in it once; the form has a box to tick for each."""

SAID = frozenset("default description minimum maximum exclusiveMinimum exclusiveMaximum".split())
"""What a schema says of a field that may be another in another component."""


@dataclass(frozen=True)
class Shape:
    """One part of a submission.

    Attributes:
        schema: of its value, without references.
        nullable: whether it may also be null.
        required: whether a submission must have it.
        name: under which it stands in the object around it.
    """

    schema: Schema
    nullable: bool = False
    required: bool = False
    name: str = ""

    @cached_property
    def kind(self) -> Kind:
        """What kind of field asks for it; ``json`` where the schema is of none that the form knows."""
        if self.components:
            return "component"
        match self.schema.get("type"):
            case "array":
                return "terms" if self.name == TERMS else "list"
            case "object":
                return "group" if "properties" in self.schema else "labels"
            case "boolean":
                return "flag"
            case "integer":
                return "integer"
            case "number":
                return "number"
            case "string":
                return "choice" if self.choices else "text"
        return "json"

    @cached_property
    def components(self) -> Mapping[str, Schema]:
        """The objects that can be chosen by name; empty where none can."""
        objects = [one for one in self.schema.get("oneOf", ()) if "name" in one.get("properties", {})]
        return {one["properties"]["name"]["default"]: one for one in objects if "default" in one["properties"]["name"]}

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that a text may be; empty where it is free."""
        found = self.schema.get("enum", (self.schema["const"],) if "const" in self.schema else ())
        return tuple(str(word) for word in found)

    @property
    def items(self) -> Shape:
        """What each entry of a list is."""
        return _shape("", self.schema.get("items", {}), required=False)

    @property
    def default(self) -> Any:
        """What it is where a submission does not have it; ``None`` where the schema does not say."""
        return self.schema.get("default")

    def parts(self, component: str = "") -> Mapping[str, Shape]:
        """The parts of a group, or of one of the components that can be chosen, by name.

        Args:
            component: name of the component; a name that cannot be chosen has no parts.
        """
        schema = self.schema if self.kind == "group" else self.components.get(component, {})
        required = schema.get("required", ())
        return {
            name: _shape(name, part, required=name in required)
            for name, part in schema.get("properties", {}).items()
            if not (name == "name" and self.kind == "component")
        }

    def shared_parts(self, components: Sequence[str]) -> Mapping[str, Shape]:
        """The parts that each of several components has, by name, with what is said alike of them everywhere."""
        first, *others = (self.parts(one) for one in components)
        shared = {name: [other[name] for other in others] for name in first if all(name in other for other in others)}
        return {name: first[name]._agreed(alike) for name, alike in shared.items()}

    def _agreed(self, others: Sequence[Shape]) -> Shape:
        kept = {
            key: value
            for key, value in self.schema.items()
            if key not in SAID or all(other.schema.get(key) == value for other in others)
        }
        return replace(self, schema=kept)

    @cached_property
    def terms(self) -> Mapping[str, Shape]:
        """Each component that such a list may hold, as a group of its fields."""
        return {
            name: Shape({**one, "properties": {k: v for k, v in one["properties"].items() if k != "name"}}, name=name)
            for name, one in self.items.components.items()
        }


def submission() -> Mapping[str, Shape]:
    """The parts of a submission, by name: those of the specification, then what stands beside it."""
    return _submission(tuple(tuple(catalog) for catalog in CATALOGS))


@lru_cache(maxsize=2)
def _submission(_known: tuple[tuple[str, ...], ...]) -> Mapping[str, Shape]:
    """The same, made once for what can be asked for: a component that joins makes another."""
    return {**parts_of(JobSpec), **parts_of(Envelope)}


def parts_of(model: type[BaseModel]) -> Mapping[str, Shape]:
    """The parts of an object that a model describes, by name."""
    schema = model.model_json_schema()
    return Shape(_without_references(schema, schema.get("$defs", {}), ())).parts()


def _without_references(node: Any, definitions: Schema, above: tuple[str, ...]) -> Any:
    """A schema with what it refers to in its place; one that refers to itself is left open there."""
    if isinstance(node, list):
        return [_without_references(one, definitions, above) for one in node]
    if not isinstance(node, Mapping):
        return node
    rest = {k: _without_references(v, definitions, above) for k, v in node.items() if k not in ("$ref", "$defs")}
    if "$ref" not in node:
        return rest
    name = str(node["$ref"]).rpartition("/")[2]
    if name in above:
        return rest
    return {**_without_references(definitions[name], definitions, (*above, name)), **rest}


def _shape(name: str, schema: Schema, *, required: bool) -> Shape:
    alternatives = schema.get("anyOf", ())
    others = [one for one in alternatives if one.get("type") != "null"]
    nullable = len(others) < len(alternatives)
    if len(others) == 1:
        beside = {key: value for key, value in schema.items() if key != "anyOf"}
        schema = {**others[0], **beside}
    return Shape(schema, nullable, required, name)
