"""What a service offers, and who may use it; a part of :class:`ddclient.Client`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ddclient import calls
from ddclient.connection import Connection


class Menus(Connection):
    """The catalogue of a service, its state and its keys."""

    def menu(self, kind: str) -> list[dict[str, Any]]:
        """What can be asked for, of one kind: ``methods``, ``regularizers``, ``networks``, ``decoders``, ``samplers``.

        Each has its fields as JSON Schema, its defaults and its source.
        """
        return self._transport.send(calls.menu(kind))

    def methods(self) -> list[dict[str, Any]]:
        """The methods."""
        return self.menu("methods")

    def regularizers(self) -> list[dict[str, Any]]:
        """What can be added to a method."""
        return self.menu("regularizers")

    def decoders(self) -> list[dict[str, Any]]:
        """What makes training images of stored ones."""
        return self.menu("decoders")

    def samplers(self) -> list[dict[str, Any]]:
        """What chooses the real images of a step."""
        return self.menu("samplers")

    def networks(self) -> list[dict[str, Any]]:
        """Networks to match with, train and score with."""
        return self.menu("networks")

    def presets(self) -> list[dict[str, Any]]:
        """Named starting points, with the score to expect."""
        return self.menu("presets")

    def preset(self, name: str) -> dict[str, Any]:
        """One of them, with its whole specification."""
        return self._transport.send(calls.preset(name))

    def readings(self) -> list[dict[str, Any]]:
        """The metrics that jobs report: what each is, its unit and its range."""
        return self._transport.send(calls.menu("readings"))

    def problems(self) -> list[dict[str, Any]]:
        """The kinds of refusals, by their codes."""
        return self._transport.send(calls.problems())

    def health(self) -> dict[str, Any]:
        """Whether the service and what it depends on are ready."""
        return self._transport.send(calls.health())

    def workers(self) -> list[dict[str, Any]]:
        """The workers that are alive, and what they run."""
        return self._transport.send(calls.menu("workers"))

    def tell_worker(self, worker_id: str, verb: str) -> dict[str, Any]:
        """Have a worker ``cordon`` (claim no more jobs), ``drain`` (and hand back its own) or ``uncordon``."""
        return self._transport.send(calls.make(f"workers/{worker_id}:{verb}", {}))

    def checkpoints(self, job_id: str) -> list[dict[str, Any]]:
        """The saved states of a job, newest first."""
        return self._transport.send(calls.menu(f"jobs/{job_id}/checkpoints"))

    def api_keys(self) -> list[dict[str, Any]]:
        """The API keys of the tenant, without the keys themselves."""
        return self._transport.send(calls.menu("api-keys"))

    def create_api_key(
        self,
        name: str,
        *,
        scopes: Sequence[str] | None = None,
        expires_at: datetime | None = None,
        member_id: str | None = None,
    ) -> dict[str, Any]:
        """Make an API key; ``key`` of the answer is shown now and never again.

        Args:
            name: what it is for.
            scopes: what it may be used for. Default: jobs and artifacts.
            expires_at: when it stops working, with its time zone. Default: never.
            member_id: the member whose key it is, and whose role bounds it. Default: a key of the tenant itself.
        """
        return self._transport.send(calls.create_key(name, scopes, expires_at, member_id))

    def rotate_api_key(self, key_id: str, *, grace_s: int = 86_400) -> dict[str, Any]:
        """Replace an API key by a new one that can do the same; ``key`` of the answer is shown now and never again.

        Args:
            key_id: of the old one.
            grace_s: seconds that the old one works on, at most 30 days.
        """
        return self._transport.send(calls.make(f"api-keys/{key_id}:rotate", {"grace_s": grace_s}))

    def revoke_api_key(self, key_id: str) -> None:
        """Make an API key useless at once."""
        self._transport.send(calls.remove("api-keys", key_id))

    def me(self) -> dict[str, Any]:
        """What the key is for: tenant, scopes, unfinished jobs and how many there may be."""
        return self._transport.send(calls.me())

    def login_link(self) -> str:
        """An address that opens the dashboard once, without a key."""
        return self._transport.send(calls.login_link())
