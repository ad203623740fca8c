"""`ghostwire user`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from ghostwire.cli import screen
from ghostwire.cli.options import admin_options, yes_option

if TYPE_CHECKING:
    from ghostwire.cli.admin import Admin

ROLES = click.Choice(["owner", "admin", "member"])


@click.group("user")
def command() -> None:
    """List, create and delete users. USER is a name or an id."""


@command.command("list", epilog="\b\nExample:\n  ghostwire user list --json")
@admin_options
def list_(admin: Admin, as_json: bool) -> None:
    """List users."""
    users = admin.get("/v1/users")["users"]
    rows = [(u["id"], u["name"], u["display_name"] or "-", u["role"], u["nodes"]) for u in users]
    empty = "No user yet: `ghostwire user create NAME` makes one, so does `ghostwire key create --user NAME`."
    screen.show(users, as_json, lambda: screen.columns(("id", "name", "shown as", "role", "nodes"), rows, empty))


@command.command(
    "create", epilog="\b\nExamples:\n  ghostwire user create alice\n  ghostwire user create alice --display-name Alice"
)
@click.argument("name")
@click.option("--display-name", default="", metavar="TEXT", help="How others see them.")
@click.option("--email", default="", metavar="ADDRESS", help="Shown to administrators only; never an identity.")
@click.option("--role", type=ROLES, default="member", show_default=True, help="What they may do.")
@admin_options
def create(admin: Admin, name: str, display_name: str, email: str, role: str, as_json: bool) -> None:
    """Create a user."""
    body = {"name": name, "display_name": display_name, "email": email, "role": role}
    user = admin.post("/v1/users", body)
    screen.show(
        user,
        as_json,
        lambda: f"{user['name']} is here. Join a machine with `ghostwire key create --user {user['name']}`.",
    )


@command.command("delete", epilog="\b\nExample:\n  ghostwire user delete alice --yes")
@click.argument("user")
@yes_option
@admin_options
def delete(admin: Admin, user: str, yes: bool, as_json: bool) -> None:
    """Delete a user; refused while they own nodes."""
    screen.confirm(f"Delete the user {user}?", yes, as_json)
    admin.delete(_path(user))
    screen.show({"user": user, "deleted": True}, as_json, lambda: f"{user} is gone.")


@command.command("role", epilog="\b\nExample:\n  ghostwire user role alice admin")
@click.argument("user")
@click.argument("role", type=ROLES)
@admin_options
def role(admin: Admin, user: str, role: str, as_json: bool) -> None:
    """Change a user's role."""
    changed = admin.patch(_path(user), {"role": role})
    screen.show(changed, as_json, lambda: f"{changed['name']} is {changed['role']} now.")


def _path(user: str) -> str:
    return f"/v1/users/{quote(user, safe='')}"
