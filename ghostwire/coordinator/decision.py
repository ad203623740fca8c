"""What deciding a command gives: rows to write and what to answer once they are durable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ghostwire.model.change import Write
from ghostwire.model.time import Now


@dataclass(frozen=True, slots=True)
class Decision:
    """A change that is decided: `kind` names it in the log, `answer` gives the reply when it is committed.

    `arrives` is the node that the change writes and whose session opens with it: who sees it is told both at once.
    """

    kind: str
    writes: tuple[Write, ...]
    answer: Callable[[Now], Any]
    arrives: int | None = None


@dataclass(frozen=True, slots=True)
class Fallback:
    """The version that comes back unless another is confirmed, its text, and whom its names mean."""

    number: int
    text: str = field(compare=False)
    bindings: Mapping[str, int] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """Nothing is decided yet: this policy is to be built aside first, then the command is decided again.

    `ends` are the slots of nodes at the ends of connections that it must not cut. Where it is held `against` another
    version, it is to be found out whether it only takes access away.
    """

    text: str
    bindings: Mapping[str, int]
    ends: frozenset[int] = frozenset()
    against: Fallback | None = None


def answers_nothing(_: Now) -> None:
    """The answer of a change that is its own answer."""
