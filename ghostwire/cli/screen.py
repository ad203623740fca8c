"""What verbs print: one value as JSON, or text in aligned columns, in colours that are readable on dark and light."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click


def show(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print `value` as one line of JSON, or what `text` makes of it."""
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else text())


def note(text: str) -> None:
    """Say something to the person at the terminal, on stderr, where it spoils no output."""
    click.echo(text, err=True)


def bold(text: str) -> str:
    """Stress a word."""
    return click.style(text, bold=True)


def dim(text: str) -> str:
    """Take a word back. Faint and not grey: grey vanishes on one of the two backgrounds."""
    return click.style(text, dim=True)


def good(text: str) -> str:
    """Mark what is as it should be."""
    return click.style(text, fg="green")


def bad(text: str) -> str:
    """Mark what is not as it should be."""
    return click.style(text, fg="red")


def columns(titles: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> str:
    """Align rows below their titles; `empty` is the sentence for no rows."""
    texts = [[str(cell) for cell in row] for row in rows]
    if not texts:
        return empty
    widths = [max(len(click.unstyle(row[i])) for row in [list(titles), *texts]) for i in range(len(titles))]

    def line(cells: Sequence[str]) -> str:
        padded = (cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(cells, widths, strict=True))
        return "  ".join(padded).rstrip()

    return "\n".join([bold(line([title.upper() for title in titles])), *(line(row) for row in texts)])


def fields(pairs: Iterable[tuple[str, object]]) -> str:
    """One `name  value` a line, values aligned."""
    known = [(name, str(value)) for name, value in pairs]
    width = max((len(name) for name, _ in known), default=0)
    return "\n".join(f"{bold(name.ljust(width))}  {value}" for name, value in known)


def span(seconds: float) -> str:
    """Spell a length of time with its largest unit, as in `42 s` or `3 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(amount: float) -> str:
    """Spell a number of bytes with its largest unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def moment(text: str | None, now: datetime | None = None) -> str:
    """Spell an ISO 8601 time by its distance from now; None is `never`."""
    if text is None:
        return "never"
    distance = (datetime.fromisoformat(text) - (now or datetime.now(UTC))).total_seconds()
    return f"in {span(distance)}" if distance >= 0 else f"{span(-distance)} ago"


def confirm(question: str, yes: bool, as_json: bool) -> None:
    """Ask the person at the terminal; scripts (no terminal, `--json`) and `--yes` are taken at their word.

    Raises click.Abort on a no.
    """
    if not yes and not as_json and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)
