"""`ghostwire key`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ghostwire.cli import screen
from ghostwire.cli.credential import state
from ghostwire.cli.duration import DURATION
from ghostwire.cli.options import admin_options

if TYPE_CHECKING:
    from ghostwire.cli.admin import Admin


@click.group("key")
def command() -> None:
    """Make and revoke pre-auth keys, which let machines join."""


@command.command(
    "create",
    epilog="""\b
Examples:
  ghostwire key create --user alice
  ghostwire key create --user alice --reusable --expires 24h
  ghostwire key create --tag tag:server --ephemeral --uses 20 --json""",
)
@click.option("--user", metavar="U", help="Whose machine joins; made if there is no such user.")
@click.option("--tag", "tags", metavar="tag:T", multiple=True, help="Join under tags instead of a user; repeatable.")
@click.option("--reusable", is_flag=True, help="Any number of machines.")
@click.option("--uses", type=click.IntRange(min=1), metavar="N", help="N machines [default: 1].")
@click.option("--ephemeral", is_flag=True, help="Its nodes are removed some time after they leave.")
@click.option("--expires", type=DURATION, default="1h", show_default=True, metavar="TIME", help="When it ends.")
@admin_options
def create(
    admin: Admin,
    user: str | None,
    tags: tuple[str, ...],
    reusable: bool,
    uses: int | None,
    ephemeral: bool,
    expires: float,
    as_json: bool,
) -> None:
    """Make a key and print the line that joins a machine with it. It is shown this once."""
    if (user is None) == (not tags):
        raise click.UsageError("say whose key it is: --user U, or --tag tag:T.")
    if reusable and uses is not None:
        raise click.UsageError("--reusable and --uses exclude each other.")
    made = admin.post(
        "/v1/preauth-keys",
        {
            "user": user,
            "tags": list(tags),
            "uses": None if reusable else uses or 1,
            "ephemeral": ephemeral,
            "life_s": expires,
        },
    )
    if not as_json and (warning := admin.get("/v1/status")["warning"]):
        screen.note(screen.bad(warning))
    times = "any number of times" if reusable else "once" if (uses or 1) == 1 else f"{uses} times"
    screen.show(
        {name: made[name] for name in ("id", "key", "server", "pin", "command")},
        as_json,
        lambda: (
            f"On the new machine ({times}; the key ends {screen.moment(made['expires_at'])}):\n\n  {made['command']}\n"
        ),
    )


@command.command("list", epilog="\b\nExample:\n  ghostwire key list --json")
@click.option("--all", "everything", is_flag=True, help="Also those that were used up, ended or revoked of late.")
@admin_options
def list_(admin: Admin, everything: bool, as_json: bool) -> None:
    """List keys, without their secrets."""
    keys = [key for key in admin.get("/v1/preauth-keys")["keys"] if everything or key["usable"]]
    rows = [
        (
            k["id"],
            k["user"] or ", ".join(k["tags"]),
            "any" if k["uses_left"] is None else k["uses_left"],
            "yes" if k["ephemeral"] else "no",
            screen.moment(k["expires_at"]),
            state(k),
        )
        for k in keys
    ]
    titles = ("id", "for", "uses left", "ephemeral", "ends", "state")
    empty = "No usable key: `ghostwire key create --user U` makes one."
    screen.show(keys, as_json, lambda: screen.columns(titles, rows, empty))


@command.command("revoke", epilog="\b\nExample:\n  ghostwire key revoke 3")
@click.argument("key_id", type=click.IntRange(min=1), metavar="ID")
@admin_options
def revoke(admin: Admin, key_id: int, as_json: bool) -> None:
    """Revoke a key. Nodes that joined with it stay."""
    admin.delete(f"/v1/preauth-keys/{key_id}")
    screen.show({"id": key_id, "revoked": True}, as_json, lambda: f"Key {key_id} joins nobody any more.")
