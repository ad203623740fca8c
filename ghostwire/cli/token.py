"""`ghostwire token`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ghostwire.cli import screen
from ghostwire.cli.credential import state
from ghostwire.cli.duration import DURATION
from ghostwire.cli.options import admin_options

if TYPE_CHECKING:
    from ghostwire.cli.admin import Admin


@click.group("token")
def command() -> None:
    """Make and revoke tokens for remote administration."""


@command.command(
    "create",
    epilog="""\b
Examples:
  ghostwire token create --scope read --name dashboard
  ghostwire token create --scope write --user alice --name laptop
  ghostwire token create --scope admin --expires 8h --json""",
)
@click.option(
    "--scope",
    type=click.Choice(["read", "write", "admin"]),
    required=True,
    help="read: no secret and no change; write: nodes and untagged keys; admin: all.",
)
@click.option("--name", default="token", show_default=True, metavar="TEXT", help="What it is for.")
@click.option("--expires", type=DURATION, default="90d", show_default=True, metavar="TIME", help="When it ends.")
@click.option("--user", metavar="USER", help="Whose it is: with it they ask for access, and approve it.")
@admin_options
def create(admin: Admin, scope: str, name: str, expires: float, user: str | None, as_json: bool) -> None:
    """Make a token. It is shown this once."""
    made = admin.post("/v1/tokens", {"name": name, "scope": scope, "life_s": expires, "user": user})
    screen.show(
        made,
        as_json,
        lambda: (
            f"{made['token']}\n\nIt may {scope} and ends {screen.moment(made['expires_at'])}. "
            "Use it as GHOSTWIRE_TOKEN, with --server URL."
        ),
    )


@command.command("list", epilog="\b\nExample:\n  ghostwire token list --json")
@click.option("--all", "everything", is_flag=True, help="Also those that ended or were revoked of late.")
@admin_options
def list_(admin: Admin, everything: bool, as_json: bool) -> None:
    """List tokens, without their secrets."""
    tokens = [token for token in admin.get("/v1/tokens")["tokens"] if everything or token["usable"]]
    rows = [
        (
            t["id"],
            t["name"],
            t["scope"],
            t["user"] or "-",
            t["created_by"],
            screen.moment(t["expires_at"]),
            state(t),
        )
        for t in tokens
    ]
    empty = "No usable token: `ghostwire token create --scope read` makes one."
    screen.show(
        tokens,
        as_json,
        lambda: screen.columns(("id", "name", "scope", "user", "made by", "ends", "state"), rows, empty),
    )


@command.command("revoke", epilog="\b\nExample:\n  ghostwire token revoke 3")
@click.argument("token_id", type=click.IntRange(min=1), metavar="ID")
@admin_options
def revoke(admin: Admin, token_id: int, as_json: bool) -> None:
    """Revoke a token."""
    admin.delete(f"/v1/tokens/{token_id}")
    screen.show({"id": token_id, "revoked": True}, as_json, lambda: f"Token {token_id} opens nothing any more.")
