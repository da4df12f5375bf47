"""``python -m app.system.recover_key``: an admin key where nobody holds a working one any more.

It needs what only the service's operator has: the database and the pepper, as the API is given them.
"""

from __future__ import annotations

import argparse
import sys

from app import migrate
from app.core.database import Database
from app.core.programs import ending_plainly
from app.core.security import Scope, load_signer
from app.core.settings import Settings
from app.keys import repository, service


def main(arguments: list[str] | None = None) -> int:
    """Make the key and print it, now and never again."""
    parser = argparse.ArgumentParser(prog="python -m app.system.recover_key", description=__doc__)
    parser.add_argument("--tenant", default=service.DEFAULT_TENANT, help="Whose key it is.")
    tenant_id: str = parser.parse_args(arguments).tenant

    with ending_plainly(migrate.SchemaError, LookupError):
        sys.stdout.write(f"{make(Settings(), tenant_id)}\n")
    return 0


def make(settings: Settings, tenant_id: str) -> str:
    """A new admin key of a tenant; that of the first tenant is an operator's, as its first key was.

    Raises:
        SchemaError: the database's schema is not this version's.
        LookupError: there is no such tenant.
    """
    database = Database(settings)
    try:
        migrate.check(database)
        with database.write() as session:
            if not repository.has_tenant(session, tenant_id):
                raise LookupError(
                    f"there is no tenant '{tenant_id}'; --tenant is '{service.DEFAULT_TENANT}' by default"
                )
            scopes = [Scope.ADMIN, Scope.OPERATOR] if tenant_id == service.DEFAULT_TENANT else [Scope.ADMIN]
            _, made = service.create(
                session, load_signer(settings), settings, tenant_id=tenant_id, name="recovered", scopes=scopes
            )
    finally:
        database.dispose()
    return made.text


if __name__ == "__main__":
    sys.exit(main())
