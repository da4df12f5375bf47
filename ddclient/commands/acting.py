"""Commands that act on something that runs in the service: pause it, go on, stop it, try again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ddclient import output
from ddclient.client import Client
from ddclient.handle import Ending, Handle

D = TypeVar("D", bound=Ending)


def act(action: Callable[[Client], Handle[D]], *, as_json: bool) -> None:
    """Do something to a job, a study or a score, and print the status that it has then."""
    with Client() as client:
        document = action(client).document
    output.emit(document, f"{document.id} {document.status}", as_json=as_json)
