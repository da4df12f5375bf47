"""``python -m app.system.recover_key``: an admin key where nobody holds a working one any more.

It needs what only the service's operator has: the database and the pepper, as the API is given them.
"""

from __future__ import annotations

import argparse
import sys

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from app import migrate
from app.core.database import Database
from app.core.security import Scope, load_signer
from app.core.settings import Settings, explain
from app.keys import repository, service


def main(arguments: list[str] | None = None) -> int:
    """Make the key and print it, now and never again."""
    parser = argparse.ArgumentParser(prog="python -m app.system.recover_key", description=__doc__)
    parser.add_argument("--tenant", default=service.DEFAULT_TENANT, help="Whose key it is.")
    tenant_id: str = parser.parse_args(arguments).tenant
    try:
        key = make(Settings(), tenant_id)
    except ValidationError as error:
        sys.stderr.write(f"{explain(error)}\n")
        return 2
    except DBAPIError as error:
        sys.stderr.write(f"the database cannot be used: {error.orig}\n")
        return 1
    except (migrate.SchemaError, LookupError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{key}\n")
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
