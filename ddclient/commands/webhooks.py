"""Commands on webhooks and the messages sent to them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any

import typer
from rich.table import Table

from ddclient import output
from ddclient.client import Client
from ddclient.commands.groups import add_group
from ddclient.errors import BadInputError, Exit
from ddclient.output import JsonOption

WebhookArgument = Annotated[str, typer.Argument(metavar="ID", help="Identifier, whk_….", show_default=False)]
DeliveryArgument = Annotated[
    str, typer.Argument(metavar="DELIVERY", help="Identifier of the message, dlv_….", show_default=False)
]
EventOption = Annotated[
    list[str] | None,
    typer.Option("--event", help="What it is told: job.failed, job.*, alert.*, …; repeatable. Default: ends, alerts."),
]
DescriptionOption = Annotated[str | None, typer.Option("--description", help="For people.")]
LOOK_S = 0.5
WAIT_S = 30.0


def create(
    url: Annotated[str, typer.Argument(help="Where messages are sent; https.", show_default=False)],
    event: EventOption = None, description: DescriptionOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Have an address told what happens, and print the secret of its signatures, now and never again."""
    with Client() as client:
        made = client.create_webhook(url, events=event, description=description or "")
        output.note(f"{made['id']}: this secret is shown once; try it with `ddctl webhooks test {made['id']}`")
    output.emit(made, made["secret"], as_json=as_json)


def list_(as_json: JsonOption = False) -> None:
    """List the webhooks of the tenant."""
    with Client() as client:
        found = client.webhooks()
    table = Table("id", "address", "events", "state", box=None, pad_edge=False)
    for one in found:
        table.add_row(one["id"], one["url"], ", ".join(one["events"]), _state(one))
    output.emit(found, table if found else "there are none; `ddctl webhooks create URL` makes one", as_json=as_json)


def show(webhook: WebhookArgument, as_json: JsonOption = False) -> None:
    """Show a webhook."""
    with Client() as client:
        found = client.webhook(webhook)
    output.emit(found, _facts(found), as_json=as_json)


def set_(
    webhook: WebhookArgument,
    url: Annotated[str | None, typer.Option(help="Where messages are sent from now on.")] = None,
    event: EventOption = None, description: DescriptionOption = None,
    disable: Annotated[bool | None, typer.Option("--disable/--enable", help="Whether it is told nothing.")] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Change what a webhook is told, where, and whether at all; enabling it sends what waits."""
    fields = {"url": url, "events": event, "description": description, "disabled": disable}
    given = {name: value for name, value in fields.items() if value is not None}
    if not given:
        raise BadInputError("nothing is to be changed; `--help` lists what can be")
    with Client() as client:
        found = client.change_webhook(webhook, **given)
    output.emit(found, _facts(found), as_json=as_json)


def remove(webhook: WebhookArgument, as_json: JsonOption = False) -> None:
    """Delete a webhook, with all that was sent to it or waits."""
    with Client() as client:
        client.delete_webhook(webhook)
    output.emit({"id": webhook, "deleted": True}, f"{webhook} deleted", as_json=as_json)


def rotate(
    webhook: WebhookArgument,
    hours: Annotated[
        float, typer.Option(min=0, max=720, help="Hours for which messages are signed by the old secret too.")
    ] = 24.0,
    as_json: JsonOption = False,
) -> None:
    """Give a webhook a new secret, and print it, now and never again."""
    with Client() as client:
        made = client.rotate_webhook_secret(webhook, grace_s=round(hours * 3600))
        output.note(f"{made['id']}: this secret is shown once")
    output.emit(made, made["secret"], as_json=as_json)


def try_(webhook: WebhookArgument, as_json: JsonOption = False) -> None:
    """Send a webhook a message that says that nothing happened, and tell what came of it."""
    with Client() as client:
        begun = client.test_webhook(webhook)
        found = _first_attempt(client, webhook, begun["id"])
    attempt = found["history"][0] if found["history"] else None
    if attempt is None:
        text = f"{found['id']} waits: no worker or reconciler has sent it within {WAIT_S:g} s (`ddctl doctor`)"
    else:
        text = f"{found['id']}: {attempt['error'] or 'delivered'} ({attempt['seconds']:.2f} s)"
    output.emit(found, text, as_json=as_json)
    if found["state"] != "delivered":
        raise typer.Exit(Exit.FAILED)


def deliveries(
    webhook: WebhookArgument,
    state: Annotated[str | None, typer.Option(help="Only those that are pending, delivered or failed.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the messages to a webhook, the newest first."""
    with Client() as client:
        found = list(islice(client.deliveries(webhook, state=state), limit))
    table = Table("id", "at", "event", "job", "state", "attempts", "next", box=None, pad_edge=False)
    for one in found:
        cells = (one["id"], str(one["created_at"])[:19], one["event"], one["job_id"] or "", one["state"])
        table.add_row(*cells, str(one["attempts"]), str(one["due_at"] or "")[:19])
    output.emit(found, table if found else "nothing was sent", as_json=as_json)


def delivery(webhook: WebhookArgument, message: DeliveryArgument, as_json: JsonOption = False) -> None:
    """Show a message: what it says, and every attempt to deliver it."""
    with Client() as client:
        found = client.delivery(webhook, message)
    lines = [f"{found['id']} {found['event']} {found['state']}"]
    for one in found["history"]:
        outcome = one["error"] or f"answered {one['status']}"
        lines.append(f"{one['number']}. {str(one['at'])[:19]} {outcome} ({one['seconds']:.2f} s)")
    lines.append(json.dumps(found["payload"], indent=2, ensure_ascii=False))
    output.emit(found, "\n".join(lines), as_json=as_json)


def redeliver(webhook: WebhookArgument, message: DeliveryArgument, as_json: JsonOption = False) -> None:
    """Send a message once more: the same bytes under the same identifier."""
    with Client() as client:
        found = client.redeliver(webhook, message)
    output.emit(found, f"{found['id']} is sent once more", as_json=as_json)


def _first_attempt(client: Client, webhook: str, message: str) -> dict[str, Any]:
    """The message once it was tried, or once enough time has passed."""
    give_up_at = time.monotonic() + WAIT_S
    while True:
        found = client.delivery(webhook, message)
        if found["history"] or time.monotonic() > give_up_at:
            return found
        time.sleep(LOOK_S)


def _state(document: Mapping[str, Any]) -> str:
    if document["disabled_at"]:
        return f"disabled ({document['disabled_why']})"
    return f"failing since {str(document['failing_since'])[:16]}" if document["failing_since"] else "enabled"


def _facts(document: Mapping[str, Any]) -> Table:
    return output.facts({**document, "events": ", ".join(document["events"])})


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_group(
        app,
        "webhooks",
        "Webhooks: who is told what happens; for admins.",
        {
            "create": create,
            "list": list_,
            "show": show,
            "set": set_,
            "rm": remove,
            "rotate": rotate,
            "test": try_,
            "deliveries": deliveries,
            "delivery": delivery,
            "redeliver": redeliver,
        },
    )
