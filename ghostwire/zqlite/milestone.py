"""Rows of the log that say what happened to the store as a whole: it was restored, promoted, given other keys.

They are entered while nobody else writes: into a file in the making, or by the writer between commits.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ghostwire.zqlite import changelog
from ghostwire.zqlite.changelog import Head

if TYPE_CHECKING:
    from collections.abc import Callable

    from ghostwire.zqlite.signing import Signer

    Run = Callable[[str, tuple[Any, ...]], Any]


def enter(run: Run, head: Head, epoch: int, signer: Signer, event: tuple[str, dict[str, Any]]) -> Head:
    """Append an event (its kind and what it tells) behind `head`, signed as a commit of its own; the new head.

    `run` runs a statement with its parameters.
    """
    kind, told = event
    body = changelog.event_body("", told)
    seq, ts = head.seq + 1, max(time.time_ns(), head.ts + 1)
    digest = changelog.digest(seq, epoch, ts, "", kind, body, head.hash)
    row = (seq, epoch, ts, "", kind, body, head.hash, digest)
    run("INSERT INTO main.change VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    run("INSERT INTO main.zq_group VALUES (?, ?)", (seq, signer.sign(epoch, seq, digest)))
    return Head(seq, ts, digest)
