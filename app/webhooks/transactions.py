"""What routes and pages do with webhooks, each in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.core.database import Database
from app.core.security import Principal, Signer
from app.core.settings import Settings
from app.webhooks.service import WebhookService


@dataclass(frozen=True)
class WebhookTransactions:
    """The webhooks of one principal, a transaction at a time."""

    principal: Principal
    database: Database
    settings: Settings
    signer: Signer

    @contextmanager
    def read(self) -> Iterator[WebhookService]:
        """A transaction that changes nothing."""
        with self.database.read() as session:
            yield WebhookService(session, self.principal, self.settings, self.signer)

    @contextmanager
    def write(self) -> Iterator[WebhookService]:
        """A transaction that ends with the block, all of it or nothing."""
        with self.database.write() as session:
            yield WebhookService(session, self.principal, self.settings, self.signer)
