"""What holds where nothing is typed into the form of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Known:
    """What holds where nothing is typed, as far as it is known.

    Attributes:
        here: the object as the submission has it, with every default filled in.
        plain: the object as a job has it that says nothing but its method and protocol.
    """

    here: Any = None
    plain: Any = None

    def part(self, name: str) -> Known:
        """The same of a part of the object."""
        return Known(*(side.get(name) if isinstance(side, Mapping) else None for side in (self.here, self.plain)))

    def term(self, name: str) -> Known:
        """The same of an entry of a list of components."""
        return Known(*(_named(side, name) for side in (self.here, self.plain)))

    def component(self, name: str) -> Known:
        """The same, where the object is the component of that name."""
        return Known(*(side if _is_called(side, name) else None for side in (self.here, self.plain)))


NOTHING = Known()


def _named(terms: Any, name: str) -> Any:
    return next((one for one in terms if _is_called(one, name)), None) if isinstance(terms, list) else None


def _is_called(component: Any, name: str) -> bool:
    return isinstance(component, Mapping) and component.get("name") == name
