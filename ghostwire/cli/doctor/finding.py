"""One thing that the doctor looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from ghostwire.cli import screen
from ghostwire.errors import GhostwireError

Status = Literal["ok", "note", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found. `note` asks for nothing, `warn` for attention, `fail` for action; `advice` says which."""

    name: str
    status: Status
    text: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def examine(name: str, check: Callable[[], Finding]) -> Finding:
    """Run a check; an error of the tree that it raises is its finding."""
    try:
        return check()
    except GhostwireError as error:
        return Finding(name, "fail", error.message)


def render(findings: Iterable[Finding]) -> str:
    """One line a finding, its advice below."""
    marks = {
        "ok": screen.good("ok  "),
        "note": screen.dim("note"),
        "warn": screen.bold("warn"),
        "fail": screen.bad("fail"),
    }
    lines = []
    for finding in findings:
        lines.append(f"{marks[finding.status]}  {finding.name:<12}  {finding.text}")
        if finding.advice:
            lines.append(f"{'':20}{screen.dim('->')} {finding.advice}")
    return "\n".join(lines)
