"""Commands on API keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from ddclient import output
from ddclient.client import Client
from ddclient.commands.groups import add_group
from ddclient.commands.this_machine import run_service_module
from ddclient.errors import BadInputError
from ddclient.output import JsonOption
from ddcore.spec import did_you_mean

RECOVER = "app.system.recover_key"


def list_(as_json: JsonOption = False) -> None:
    """List the API keys of the tenant; the keys themselves are known to their holders only."""
    with Client() as client:
        found = client.api_keys()
    table = Table("id", "name", "scopes", "created", "expires", "last used", "revoked", box=None, pad_edge=False)
    for key in found:
        times = (key.get(name) for name in ("created_at", "expires_at", "last_used_at", "revoked_at"))
        # A service of before knows no keys that only stand for sessions.
        may = "what the role allows" if key.get("sign_in") else ", ".join(key["scopes"])
        table.add_row(key["id"], key["name"], may, *(str(at or "")[:16] for at in times))
    output.emit(found, table, as_json=as_json)


def create(
    name: Annotated[str, typer.Argument(help="What the key is for.", show_default=False)],
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may be used for; repeatable. Default: jobs and artifacts.")
    ] = None,
    member: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Whose it is, mem_…, and whose role bounds it. Default: the tenant's."),
    ] = None,
    days: Annotated[float | None, typer.Option(min=0.001, help="Days after which it stops working.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an API key and print it, now and never again."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with Client() as client:
        made = client.create_api_key(name, scopes=scope, expires_at=expires_at, member_id=member)
        output.note(f"{made['id']}: this key is shown once")
    output.emit(made, made["key"], as_json=as_json)


def rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Identifier, key_….", show_default=False)],
    hours: Annotated[float, typer.Option(min=0, max=720, help="Hours that the old key works on.")] = 24.0,
    as_json: JsonOption = False,
) -> None:
    """Replace an API key by a new one that can do the same, and print it, now and never again."""
    with Client() as client:
        made = client.rotate_api_key(key_id, grace_s=round(hours * 3600))
        output.note(f"{made['id']} takes the place of {key_id}, which works for {hours:g} hours more; shown once")
    output.emit(made, made["key"], as_json=as_json)


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Identifier, key_….", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Make an API key useless at once."""
    with Client() as client:
        known = {key["id"]: key["name"] for key in client.api_keys()}
        if key_id not in known:
            hint = did_you_mean(key_id, known)
            raise BadInputError(f"there is no API key '{key_id}'{hint}; `ddctl keys list` shows them")
        client.revoke_api_key(key_id)
    output.emit({"revoked": key_id}, f"{key_id} ({known[key_id]}) revoked", as_json=as_json)


def recover(
    tenant: Annotated[str | None, typer.Option(help="Whose key it is.", show_default="default")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an admin key where nobody holds one; on the machine of the service, which has its database and pepper."""
    of_tenant = () if tenant is None else ("--tenant", tenant)
    answer = run_service_module(RECOVER, *of_tenant, otherwise="no key was made")
    output.note("this key is shown once")
    output.emit({"key": answer.stdout.strip()}, answer.stdout.strip(), as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_group(
        app,
        "keys",
        "API keys: list, make, rotate, revoke, recover.",
        {"list": list_, "create": create, "rotate": rotate, "revoke": revoke, "recover": recover},
    )
