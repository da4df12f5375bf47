"""The base of every specification model, and catalogs of the components that can be asked for by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from pydantic import ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from ddcore.spec import discovery
from ddcore.spec.errors import did_you_mean
from ddcore.spec.plain import PlainModel

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


class SpecModel(PlainModel):
    """Frozen, closed (unknown fields are refused) and finite (no NaN or infinity)."""

    # Each is built when it is first used: a process needs few of them.
    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class Component(SpecModel):
    """Something chosen by name: a method, a regulariser, a network, a decoder or a sampler.

    Subclasses narrow ``name`` to a ``Literal`` with that name as its default.
    """

    name: str

    title: ClassVar[str] = ""
    """Human-readable name."""
    citation: ClassVar[str] = ""
    """Authors, venue, year and arXiv number of the source."""
    cost: ClassVar[str] = ""
    """Cost class, in words a user can compare."""
    smoke: ClassVar[Mapping[str, Any]] = {}
    """Fields, as a job gives them, that make it small enough for the behaviour suite: seconds on small images."""
    departures: ClassVar[tuple[str, ...]] = ()
    """Where a plain default is not the published setting, in sentences."""

    def defaults_in(self, job: JobSpec) -> Mapping[str, Any]:  # noqa: ARG002 - for those that follow the job
        """Defaults that follow the rest of the job, by field; nothing by default.

        Args:
            job: complete but for these.
        """
        return {}

    def suited(self, job: JobSpec) -> Self:
        """The same with :meth:`defaults_in` a job for the fields that it was not given."""
        missing = {name: v for name, v in self.defaults_in(job).items() if name not in self.model_fields_set}
        return self.model_copy(update=missing) if missing else self


C = TypeVar("C", bound=Component)


class Catalog(Mapping[str, type[C]], Generic[C]):
    """Names of one kind of component and the configuration class behind each.

    Args:
        kind: one of them, in a word.
        group: entry points by which other distributions offer some.
        base: what every configuration class of this kind derives from.
    """

    def __init__(self, kind: str, group: str, base: type[C]) -> None:
        self.kind = kind
        self.group = group
        self._base = base
        self._classes: dict[str, type[C]] = {}
        self._others_await = False

    def __getitem__(self, name: str) -> type[C]:
        return self._known()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())

    def admit_others(self) -> None:
        """Let what other distributions offer join, at the next look-up: by then their modules can import ours."""
        self._others_await = True

    def _known(self) -> dict[str, type[C]]:
        if self._others_await:
            self._others_await = False
            discovery.load_offers(self.group, self._admit)
        return self._classes

    def _admit(self, name: str, load: Callable[[], object]) -> None:
        """Take in the configuration class that an entry point offers under its name, or nothing of its module.

        Raises:
            TypeError: it is something else.
            ValueError: it has another name than its entry point, or the name is taken.
        """
        before = dict(self._classes)
        try:
            self.register(self._checked(name, load()))
        except BaseException:
            self._classes = before
            raise

    def _checked(self, name: str, cls: object) -> type[C]:
        if not isinstance(cls, type) or not issubclass(cls, self._base):
            raise TypeError(f"{cls!r} is no subclass of {self._base.__name__}")
        if cls.model_fields["name"].default != name:
            raise ValueError(
                f"the `name` of {cls.__name__} is not {name!r} by default; its entry point must have the same"
            )
        return cls

    def register(self, cls: type[C]) -> None:
        """Announce ``cls`` under the default of its ``name`` field.

        Raises:
            ValueError: the class has no default name, the name is not lower case, or it is taken.
        """
        name = cls.model_fields["name"].default
        if not isinstance(name, str) or not name.isidentifier() or name != name.lower():
            raise ValueError(f"{cls.__name__}: `name` must default to a lower-case identifier, got {name!r}")
        known = self._classes.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(
                f"{self.kind} {name!r} is already registered by {known.__qualname__} of {known.__module__}"
            )
        self._classes[name] = cls

    def unregister(self, name: str) -> None:
        """Forget a name (used by tests that register a toy component)."""
        del self._classes[name]

    def parse(self, value: object) -> C:
        """Turn ``"dm"``, ``{"name": "dm", …}`` or a ready configuration into a configuration.

        Raises:
            PydanticCustomError: nested problems, which :func:`ddcore.spec.errors.problems` unfolds.
        """
        if isinstance(value, Component):
            if value.name not in self or not isinstance(value, self[value.name]):
                raise self._unknown(value.name)
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise PydanticCustomError(
                "component_type",
                "a {kind} is given by its name, or as an object with a `name`; known: {known}",
                {"kind": self.kind, "known": ", ".join(sorted(self))},
            )
        if value["name"] not in self:
            raise self._unknown(value["name"])
        cls = self[value["name"]]
        try:
            return cls.model_validate(dict(value))
        except ValidationError as error:
            raise PydanticCustomError(
                "component_fields",
                "the {kind} `{name}` has invalid fields",
                {"kind": self.kind, "name": value["name"], "errors": error.errors(), "model": cls},
            ) from error

    def _unknown(self, name: str) -> PydanticCustomError:
        reason = discovery.why_missing(self.group, name)
        return PydanticCustomError(
            "unknown_name",
            "unknown {kind} '{name}'{hint}; known: {known}",
            {
                "kind": self.kind,
                "name": name,
                "hint": f": {reason}" if reason else did_you_mean(name, self),
                "known": ", ".join(sorted(self)),
            },
        )
