"""Numbers and booleans as JSON has them: a text is no number, and true is not one."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

_NOT_SCHEMAS = frozenset({"metadata", "serialization", "default", "config"})
"""Keys under which a core schema keeps something else than schemas of what is validated."""


def _narrowed(schema: Any) -> Any:
    if isinstance(schema, list | tuple):
        return type(schema)(_narrowed(one) for one in schema)
    if not isinstance(schema, dict):
        return schema
    match schema.get("type"):
        case "int":
            # Strict, it would refuse 2.0.
            return core_schema.no_info_before_validator_function(_whole, schema)
        case "float" | "bool":
            return {**schema, "strict": True}
        case "definition-ref" | "literal" | "enum":
            return schema
        case _:
            return {name: v if name in _NOT_SCHEMAS else _narrowed(v) for name, v in schema.items()}


def _whole(value: object) -> object:
    if isinstance(value, bool | str | bytes):
        raise PydanticKnownError("int_type")
    return value


class PlainModel(BaseModel):
    """Takes what its JSON schema describes; pydantic alone would also read ``"2"`` and ``true`` as numbers.

    The whole of a number written with a point counts as an integer, as JSON Schema has it.

    >>> from pydantic import ValidationError
    >>> class Asked(PlainModel):
    ...     ipc: int
    ...     audit: bool | None = None
    >>> Asked.model_validate({"ipc": 2.0}).ipc
    2
    >>> for given in ({"ipc": "2"}, {"ipc": True}, {"ipc": 2, "audit": 1}):
    ...     try:
    ...         Asked.model_validate(given)
    ...     except ValidationError as error:
    ...         print(error.errors()[0]["msg"])
    Input should be a valid integer
    Input should be a valid integer
    Input should be a valid boolean
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Pydantic's schema of the model, its numbers and booleans narrowed."""
        narrowed: CoreSchema = _narrowed(handler(source))
        return narrowed
