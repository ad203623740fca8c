"""`ghostwire policy show|history|apply|confirm|rollback`: what is in force, and what was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli import screen
from ghostwire.cli.duration import DURATION
from ghostwire.cli.options import admin_options
from ghostwire.cli.policy.files import FILE, allow_all_option, faults_of, read_policy

if TYPE_CHECKING:
    from ghostwire.cli.admin import Admin

TEXT_WIDTH = 72
DEFAULT = "// The default policy: each user's own devices see each other, nothing else."
force_option = click.option(
    "--force", is_flag=True, help="Do it although its tests fail, it cuts you off, or it only takes access away."
)
note_option = click.option("--note", default="", metavar="TEXT", help="Why, for the history.")


@click.command(
    "show",
    epilog="""\b
Examples:
  ghostwire policy show >policy.hujson
  ghostwire policy show --version 3
  ghostwire policy show --hits""",
)
@click.option("--version", "number", type=click.IntRange(min=0), metavar="N", help="Another version; 0: the default.")
@click.option("--hits", is_flag=True, help="How often each rule let something in or refused it, and when last.")
@admin_options
def show(admin: Admin, number: int | None, hits: bool, as_json: bool) -> None:
    """Show the policy in force, or an earlier one."""
    policy = admin.get("/v1/policy" if number is None else f"/v1/policy/versions/{number}")
    if hits:
        counted = admin.get(f"/v1/policy/versions/{policy['number']}/hits")
        screen.show(counted, as_json, lambda: _hits(counted))
        return
    if policy["waits_until"] is not None and not as_json:
        screen.note(_waits(policy))
    screen.show(policy, as_json, (policy["text"] if policy["text"] is not None else DEFAULT).rstrip)


@click.command("history", epilog="\b\nExamples:\n  ghostwire policy history\n  ghostwire policy history --json")
@admin_options
def history(admin: Admin, as_json: bool) -> None:
    """List every version that was ever in force: who, when, why. `diff N` shows what one changed."""
    versions = admin.get("/v1/policy/versions")["versions"]
    rows = [(v["number"], screen.moment(v["at"]), v["author"], _how(v), v["note"] or "-", _state(v)) for v in versions]
    empty = "No policy was ever applied; the default one is in force."
    screen.show(
        versions, as_json, lambda: screen.columns(("version", "when", "by", "how", "note", "state"), rows, empty)
    )


@click.command(
    "apply",
    epilog="""\b
Examples:
  ghostwire policy apply policy.hujson --confirm-within 5m
  ghostwire policy apply - --note 'opens port 80'""",
)
@click.argument("file", type=FILE)
@allow_all_option
@note_option
@click.option(
    "--confirm-within", type=DURATION, metavar="TIME", help="Go back by itself unless `policy confirm` comes in time."
)
@click.option("--replace", is_flag=True, help="End the wait of a version that is not confirmed yet.")
@force_option
@admin_options
def apply(
    admin: Admin,
    file: Path,
    allow_all: bool,
    note: str,
    confirm_within: float | None,
    replace: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Put a policy in force; it is when the command returns.

    Refused unless forced: one whose own tests fail, or that cuts the connection (over the mesh) that you use.
    """
    body = {"text": read_policy(file), "allow_all": allow_all, "replace": replace, "confirm_within_s": confirm_within}
    with faults_of(file):
        applied = admin.put("/v1/policy", body | _change(note, force))
    _done(applied, as_json)


@click.command("confirm", epilog="\b\nExamples:\n  ghostwire policy confirm\n  ghostwire policy confirm 7")
@click.argument("number", type=click.IntRange(min=1), metavar="[VERSION]", required=False)
@admin_options
def confirm(admin: Admin, number: int | None, as_json: bool) -> None:
    """Keep the version that waits to be confirmed."""
    kept = admin.post("/v1/policy/confirm", {"number": number})
    screen.show(kept, as_json, lambda: f"Policy {kept['number']} stays in force.")


@click.command(
    "rollback", epilog="\b\nExamples:\n  ghostwire policy rollback\n  ghostwire policy rollback 3 --note why"
)
@click.argument("number", type=click.IntRange(min=0), metavar="[VERSION]", required=False)
@note_option
@force_option
@admin_options
def rollback(admin: Admin, number: int | None, note: str, force: bool, as_json: bool) -> None:
    """Bring an earlier version back, by default the one before. 0 is the default policy.

    It becomes a new version, and ends the wait of one that waits.
    """
    _done(admin.post("/v1/policy/rollback", {"number": number} | _change(note, force)), as_json)


def _hits(counted: Any) -> str:
    rows = [_hit(f"{rule['section']}[{rule['index']}]:{rule['line']}", rule, rule["text"]) for rule in counted["rules"]]
    rows.append(_hit("-", counted["refused"], "what no rule accepts"))
    return screen.columns(("rule", "hits", "last", "nodes", "text"), rows, "")


def _hit(place: str, count: Any, text: str) -> tuple[object, ...]:
    short = text if len(text) <= TEXT_WIDTH else f"{text[: TEXT_WIDTH - 1]}…"
    return place, count["hits"], screen.moment(count["last"]), count["nodes"], short


def _change(note: str, force: bool) -> dict[str, Any]:
    return {"note": note, "force": force, "connections": _over_ssh()}


def _over_ssh() -> list[dict[str, Any]]:
    """The connection of the shell that this runs in (sshd says), for it may lead over the mesh."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    if len(words) != 4 or not words[3].isdigit():
        return []
    return [{"source": words[0], "target": words[2], "port": int(words[3])}]


def _done(policy: Any, as_json: bool) -> None:
    for forced in policy["forced"]:
        screen.note(f"{screen.bad('forced:')} {forced}")
    lines = [f"Policy {policy['number']} is in force."]
    if policy["waits_until"] is not None:
        lines.append(_waits(policy))
    screen.show(policy, as_json, lambda: "\n".join(lines))


def _waits(policy: Any) -> str:
    return f"It goes back {screen.moment(policy['waits_until'])} unless `ghostwire policy confirm` keeps it."


def _how(version: Any) -> str:
    if version["origin"] == "apply":
        return "applied" + (" by force" if version["forced"] else "")
    what = "the default" if version["restores"] == 0 else f"version {version['restores']}"
    return f"back to {what}" + (", unconfirmed" if version["origin"] == "revert" else "")


def _state(version: Any) -> str:
    if version["waits_until"] is not None:
        return screen.bad(f"waits, ends {screen.moment(version['waits_until'])}")
    return screen.good("in force") if version["in_force"] else ""
