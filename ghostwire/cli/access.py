"""`ghostwire access`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli import screen
from ghostwire.cli.duration import DURATION
from ghostwire.cli.options import admin_options, yes_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from ghostwire.cli.admin import Admin

ID = click.IntRange(min=1)
STATES = click.Choice(["pending", "lapsed", "denied", "approved", "revoked", "ended"])
as_option = click.option("--as", "user", metavar="USER", help="Whom you act as; only administrators act as others.")
reason_option = click.option("--reason", default="", metavar="TEXT", help="Why, for those who read it later.")


@click.group("access")
def command() -> None:
    """Ask for access that ends by itself, and approve it. The policy says who may, and for how long."""


@command.command(
    "request",
    epilog="""\b
Examples:
  ghostwire access request db --ip tcp:5432 --for 1h --reason 'INC-7'
  ghostwire access request web --as alice --json""",
)
@click.argument("target", metavar="DST")
@click.option(
    "--ip", multiple=True, default=("*",), show_default=True, metavar="PORTS", help="tcp:22, udp:1-99, icmp:*"
)
@click.option("--for", "duration", type=DURATION, default="1h", show_default=True, metavar="TIME", help="For how long.")
@click.option("--from", "source", metavar="NODE", help="Only from this node of yours.")
@reason_option
@as_option
@admin_options
def request(
    admin: Admin,
    target: str,
    ip: tuple[str, ...],
    duration: float,
    source: str | None,
    reason: str,
    user: str | None,
    as_json: bool,
) -> None:
    """Ask to reach the node DST. It lapses unless somebody approves it within an hour."""
    asked = {"target": target, "ip": ip, "duration_s": round(duration), "source": source}
    made = admin.post("/v1/access", asked | {"reason": reason, "user": user})
    screen.show(
        made,
        as_json,
        lambda: (
            f"Access request {made['id']} waits for {_people(made)}: `ghostwire access approve {made['id']}` "
            "within the hour."
        ),
    )


@command.command("list", epilog="\b\nExamples:\n  ghostwire access list\n  ghostwire access list --only pending --json")
@click.option("--only", "state", type=STATES, help="Only those in this state.")
@admin_options
def list_(admin: Admin, state: str | None, as_json: bool) -> None:
    """List access requests, newest first."""
    requests = admin.get("/v1/access", state=state)["requests"]
    titles = ("id", "user", "to", "ports", "for", "state", "until", "by", "reason")
    empty = "No such access request." if state else "Nobody has asked for access yet: `ghostwire access request DST`."
    screen.show(requests, as_json, lambda: screen.columns(titles, map(_row, requests), empty))


@command.command("approve", epilog="\b\nExamples:\n  ghostwire access approve 7\n  ghostwire access approve 7 --as bob")
@click.argument("request_id", type=ID, metavar="ID")
@click.option("--digest", metavar="HEX", help="Only if this is still its digest, as `access list --json` shows it.")
@as_option
@yes_option
@admin_options
def approve(admin: Admin, request_id: int, digest: str | None, user: str | None, yes: bool, as_json: bool) -> None:
    """Approve the request ID: what it asks for is open at once. Nobody approves his own."""
    path = f"/v1/access/{request_id}"
    asked = admin.get(path)
    if digest is None:
        screen.confirm(f"Let {_what(asked)}?", yes, as_json)
    made = admin.post(f"{path}/approve", {"digest": digest or asked["digest"], "user": user})
    screen.show(made, as_json, lambda: f"Approved: {_what(made)}. It ends {screen.moment(made['ends_at'])}.")


@command.command("deny", epilog="\b\nExample:\n  ghostwire access deny 7 --reason 'use the replica'")
@click.argument("request_id", type=ID, metavar="ID")
@reason_option
@as_option
@admin_options
def deny(admin: Admin, request_id: int, reason: str, user: str | None, as_json: bool) -> None:
    """Refuse the request ID for good."""
    _end(admin, request_id, "deny", reason, user, as_json, lambda made: f"Access request {made['id']} is denied.")


@command.command("revoke", epilog="\b\nExample:\n  ghostwire access revoke 7")
@click.argument("request_id", type=ID, metavar="ID")
@reason_option
@as_option
@admin_options
def revoke(admin: Admin, request_id: int, reason: str, user: str | None, as_json: bool) -> None:
    """End the access of the approved request ID now. Running connections end with it."""
    _end(admin, request_id, "revoke", reason, user, as_json, lambda made: f"Revoked: {_what(made)}.")


def _end(
    admin: Admin,
    request_id: int,
    act: str,
    reason: str,
    user: str | None,
    as_json: bool,
    text: Callable[[Any], str],
) -> None:
    made = admin.post(f"/v1/access/{request_id}/{act}", {"reason": reason, "user": user})
    screen.show(made, as_json, lambda: text(made))


def _what(request: Any) -> str:
    place = f" from {request['source']}" if request["source"] else ""
    ports = ", ".join(request["ip"])
    return f"{request['user']}{place} reach {request['target']} at {ports} for {screen.span(request['duration_s'])}"


def _people(request: Any) -> str:
    return " or ".join(request["approvers"]) or "an approver, of whom there is none now"


def _row(request: Any) -> tuple[object, ...]:
    until = request["lapses_at"] if request["state"] == "pending" else request["ends_at"]
    return (
        request["id"],
        request["user"],
        request["target"],
        ",".join(request["ip"]),
        screen.span(request["duration_s"]),
        request["state"],
        screen.moment(until) if until else "-",
        request["approver"] or "-",
        request["outcome"] or request["reason"] or "-",
    )
