"""Commands on tenants, members, the audit trail and use."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import typer
from rich.table import Table

from ddclient import output
from ddclient.client import Client
from ddclient.commands.groups import add_group
from ddclient.commands.records import span
from ddclient.errors import BadInputError
from ddclient.output import JsonOption

TenantArgument = Annotated[str, typer.Argument(metavar="ID", help="Identifier of the tenant.", show_default=False)]
MemberArgument = Annotated[str, typer.Argument(metavar="ID", help="Identifier, mem_….", show_default=False)]
NameOption = Annotated[str | None, typer.Option("--name", help="What people call it.")]
Running = Annotated[int | None, typer.Option("--running", min=0, help="Jobs that may run at once.")]
Queued = Annotated[int | None, typer.Option("--queued", min=0, help="Unfinished jobs that it may have.")]
Bytes = Annotated[int | None, typer.Option("--dataset-bytes", min=0, help="Bytes of its own sets and uploads.")]
Minutes = Annotated[int | None, typer.Option("--minutes", min=0, help="Minutes of workers in a calendar month (UTC).")]
Hours = Annotated[float | None, typer.Option("--hours", help="Hours of workers that unfinished jobs may still need.")]
Weight = Annotated[float | None, typer.Option("--weight", min=0.001, help="Share of the workers beside other tenants.")]
Disable = Annotated[bool | None, typer.Option("--disable/--enable", help="Whether its keys stop working.")]
RoleOption = Annotated[str | None, typer.Option("--role", help="viewer, member or admin.")]


def create_tenant(
    tenant: TenantArgument, name: NameOption = None, running: Running = None, queued: Queued = None,
    dataset_bytes: Bytes = None, minutes: Minutes = None, hours: Hours = None, weight: Weight = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a tenant, and print the key of its first admin, now and never again."""
    fields = _given(name=name, **_limits(running, queued, dataset_bytes, minutes, hours, weight))
    with Client() as client:
        made = client.create_tenant(tenant, **fields)
        output.note(f"tenant {made['id']}: the key of its first admin, {made['key']['id']}, is shown once")
    output.emit(made, made["key"]["key"], as_json=as_json)


def list_tenants(as_json: JsonOption = False) -> None:
    """List all tenants; for operators."""
    with Client() as client:
        found = client.tenants()
    table = Table("id", "name", "running", "queued", "minutes", "hours", "weight", "disabled", box=None, pad_edge=False)
    for one in found:
        names = ("max_running", "max_queued", "max_month_minutes", "max_work_hours", "weight")
        # A service of before knows no hours.
        numbers = ("" if one.get(name) is None else f"{one[name]:g}" for name in names)
        table.add_row(one["id"], one["name"], *numbers, str(one["disabled_at"] or "")[:16])
    output.emit(found, table, as_json=as_json)


def show_tenant(tenant: TenantArgument, as_json: JsonOption = False) -> None:
    """Show a tenant and its limits."""
    with Client() as client:
        found = client.tenant(tenant)
    output.emit(found, output.facts(found), as_json=as_json)


def set_tenant(
    tenant: TenantArgument, name: NameOption = None, running: Running = None, queued: Queued = None,
    dataset_bytes: Bytes = None, minutes: Minutes = None, hours: Hours = None, weight: Weight = None,
    disable: Disable = None,
    unlimited: Annotated[
        list[str] | None,
        typer.Option(help="Give up a limit: running, queued, dataset-bytes, minutes or hours; repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Change a tenant's name or limits, or disable it."""
    fields = _given(name=name, disabled=disable, **_limits(running, queued, dataset_bytes, minutes, hours, weight))
    known = {"running": "max_running", "queued": "max_queued", "dataset-bytes": "max_dataset_bytes"}
    known |= {"minutes": "max_month_minutes", "hours": "max_work_hours"}
    for limit in unlimited or ():
        if limit not in known:
            raise BadInputError(f"--unlimited is '{limit}'; choose {', '.join(known)}")
        fields[known[limit]] = None
    _something(fields)
    with Client() as client:
        found = client.change_tenant(tenant, **fields)
    output.emit(found, output.facts(found), as_json=as_json)


def add_member(
    email: Annotated[str, typer.Argument(help="Their e-mail address.", show_default=False)],
    name: NameOption = None, role: RoleOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Add a member to the tenant; `ddctl keys create NAME --member ID` makes keys for them."""
    with Client() as client:
        made = client.add_member(email, **_given(name=name, role=role))
    output.emit(made, output.facts(made), as_json=as_json)


def list_members(as_json: JsonOption = False) -> None:
    """List the members of the tenant."""
    with Client() as client:
        found = client.members()
    table = Table("id", "e-mail", "name", "role", "signs in", "disabled", box=None, pad_edge=False)
    for one in found:
        # A service of before knows no provider.
        signs_in = "at the provider" if one.get("linked") else ""
        disabled = str(one["disabled_at"] or "")[:16]
        table.add_row(one["id"], one["email"], one["name"], one["role"], signs_in, disabled)
    text = table if found else "the tenant has no members; its keys are its own"
    output.emit(found, text, as_json=as_json)


def show_member(member: MemberArgument, as_json: JsonOption = False) -> None:
    """Show a member."""
    with Client() as client:
        found = client.member(member)
    output.emit(found, output.facts(found), as_json=as_json)


def set_member(
    member: MemberArgument, name: NameOption = None, role: RoleOption = None, disable: Disable = None,
    unlink: Annotated[
        bool,
        typer.Option("--unlink", help="Forget their account at the login provider, and end the sessions it began."),
    ] = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Change a member's name or role, disable them, or unlink their account at the login provider."""
    fields = _given(name=name, role=role, disabled=disable, unlink=unlink or None)
    _something(fields)
    with Client() as client:
        found = client.change_member(member, **fields)
    output.emit(found, output.facts(found), as_json=as_json)


def remove_member(member: MemberArgument, as_json: JsonOption = False) -> None:
    """Remove a member, and revoke their keys and sessions."""
    with Client() as client:
        client.remove_member(member)
    output.emit({"removed": member}, f"{member} removed; their keys and sessions are revoked", as_json=as_json)


def audit(
    action: Annotated[str | None, typer.Option(help="Only this act, such as job.cancel.")] = None,
    key: Annotated[str | None, typer.Option(help="Only acts of this key.")] = None,
    object_id: Annotated[str | None, typer.Option("--object", help="Only what was done to this.")] = None,
    since: Annotated[str | None, typer.Option(help="How far back: 90s, 15m, 1h, 2d. Default: all.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """List what was done in the tenant's name, the newest first."""
    begun = None if since is None else datetime.now(UTC) - span(since)
    with Client() as client:
        acts = list(islice(client.audit(action=action, key=key, object_id=object_id, since=begun), limit))
    table = Table("at", "what", "to", "by", "from", box=None, pad_edge=False)
    for one in acts:
        cells = (str(one["at"])[:19], one["action"], one["object_id"], one["key_id"], one["address"])
        table.add_row(*(cell or "" for cell in cells))
    output.emit(acts, table if acts else "nothing of the kind was recorded", as_json=as_json)


def usage(
    tenant: Annotated[str | None, typer.Option(help="Of another tenant; for operators.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the tenant uses, and may use."""
    with Client() as client:
        found = client.usage(tenant)
    table = Table("what", "used", "of", box=None, pad_edge=False)
    rows = {"minutes": f"minutes of workers in {found['month']}", "running_jobs": "running jobs"}
    rows |= {"unfinished_jobs": "unfinished jobs", "dataset_bytes": "bytes of own sets"}
    for name, title in rows.items():
        amount = found[name]
        table.add_row(title, f"{amount['used']:,.0f}", "" if amount["limit"] is None else f"{amount['limit']:,.0f}")
    if (work := found.get("work_hours")) is not None:  # a service of before knows no hours
        limit = "" if work["limit"] is None else f"{work['limit']:,.1f}"
        table.add_row("hours of work that unfinished jobs need", f"{work['used']:,.1f}", limit)
    table.add_row("bytes of results", f"{found['artifact_bytes']:,.0f}", "")
    output.emit(found, table, as_json=as_json)


def _limits(
    running: int | None, queued: int | None, dataset_bytes: int | None, minutes: int | None, hours: float | None,
    weight: float | None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "max_running": running,
        "max_queued": queued,
        "max_dataset_bytes": dataset_bytes,
        "max_month_minutes": minutes,
        "max_work_hours": hours,
        "weight": weight,
    }


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _something(fields: Mapping[str, Any]) -> None:
    if not fields:
        raise BadInputError("nothing is to be changed; `--help` lists what can be")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_group(
        app,
        "tenants",
        "Tenants: make, list, show, change; for operators.",
        {"create": create_tenant, "list": list_tenants, "show": show_tenant, "set": set_tenant},
    )
    add_group(
        app,
        "members",
        "Members: add, list, show, change, remove.",
        {
            "add": add_member,
            "list": list_members,
            "show": show_member,
            "set": set_member,
            "rm": remove_member,
        },
    )
    app.command()(audit)
    app.command()(usage)
