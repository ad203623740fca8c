"""`ghostwire policy diff|test|lint`: what a policy would do, before it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli import screen
from ghostwire.cli.options import admin_options
from ghostwire.cli.policy.files import FILE, faults_of, named, read_policy
from ghostwire.errors import ValidationError

if TYPE_CHECKING:
    from ghostwire.cli.admin import Admin

_NAMES = 6


@click.command(
    "diff",
    epilog="""\b
Examples:
  ghostwire policy diff policy.hujson      what the file would change
  ghostwire policy diff 7                  what version 7 changed
  ghostwire policy diff 3 7                version 3 against version 7""",
)
@click.argument("first", metavar="FILE|VERSION")
@click.argument("second", metavar="[VERSION]", type=click.IntRange(min=0), required=False)
@admin_options
def diff(admin: Admin, first: str, second: int | None, as_json: bool) -> None:
    """List every edge that a policy gives and takes.

    It is about the nodes there are. A file is held against the policy in force, or against VERSION; a version against
    the one before it.
    """
    if not first.isdigit():
        file = _existing(first)
        with faults_of(file):
            found = admin.post("/v1/policy/diff", {"text": read_policy(file), "against": second})
    elif second is None:
        found = admin.get(f"/v1/policy/versions/{first}/diff")
    else:
        found = admin.post("/v1/policy/diff", {"number": second, "against": int(first)})
    screen.show(found, as_json, lambda: _changes(found))


@click.command("test", epilog="\b\nExamples:\n  ghostwire policy test policy.hujson\n  ghostwire policy test")
@click.argument("file", type=FILE, required=False)
@admin_options
def test(admin: Admin, file: Path | None, as_json: bool) -> None:
    """Run a policy's own tests over the users and nodes there are. Without a file, those of the policy in force."""
    with faults_of(file):
        found = admin.post("/v1/policy/test", _candidate(file))
        if not found["passed"]:
            raise ValidationError(found["failure"])
    screen.show(found, as_json, lambda: "Every test of the policy holds.")


@click.command("lint", epilog="\b\nExamples:\n  ghostwire policy lint policy.hujson\n  ghostwire policy lint --json")
@click.argument("file", type=FILE, required=False)
@admin_options
def lint(admin: Admin, file: Path | None, as_json: bool) -> None:
    """Remark on what is legal and probably not meant.

    Rules that are shadowed, idle, double or for everybody; names that nobody uses.
    """
    with faults_of(file):
        remarks = admin.post("/v1/policy/lint", _candidate(file))["remarks"]
    within = "" if file is None else f"{named(file)}:"
    rows = [(f"{within}{r['line']}:{r['column']}" if r["line"] else "-", r["kind"], r["message"]) for r in remarks]
    screen.show(remarks, as_json, lambda: screen.columns(("place", "kind", "remark"), rows, "Nothing to remark."))


def _candidate(file: Path | None) -> dict[str, Any]:
    return {} if file is None else {"text": read_policy(file)}


def _existing(name: str) -> Path:
    path = Path(name)
    if name != "-" and not path.is_file():
        raise click.UsageError(f"{name} is neither a file nor the number of a version.")
    return path


def _changes(found: Any) -> str:
    gained, lost, touched = found["gained_edges"], found["lost_edges"], len(found["touched"])
    edges, nodes = "edge" if gained == 1 else "edges", "node" if touched == 1 else "nodes"
    lines = [f"{gained} {edges} gained, {lost} lost; {touched} {nodes} touched."]
    for sign, colour, groups in (("+", screen.good, found["gained"]), ("-", screen.bad, found["lost"])):
        lines += [colour(f"{sign} {_edges(group)}") for group in groups]
    return "\n".join(lines)


def _edges(group: Any) -> str:
    which = "" if group["pairs"] == "all" else f", {group['pairs']} only"
    targets = _names(group["targets"]) if group["route"] is None else f"{group['route']} via {_names(group['targets'])}"
    what = "everything" if group["access"] == ["*"] else "; ".join(group["access"])
    return f"{_names(group['sources'])} -> {targets}: {what} ({group['count']}{which})"


def _names(names: list[str]) -> str:
    rest = len(names) - _NAMES
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:_NAMES])} and {rest} more"
