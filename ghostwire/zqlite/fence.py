"""When a copy of a store must write nothing any more: another one is ahead of it.

A head of the log that comes back from outside, or another copy's word of its epoch, may show that this copy is an
older one, or that two copies went apart. Writing on would make a second history. A fenced store reads and is read; the
fence is kept in the file, and a promotion or a restore is what ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ghostwire.errors import DatabaseError
from ghostwire.zqlite import archive

if TYPE_CHECKING:
    from ghostwire.zqlite.applier import Applier
    from ghostwire.zqlite.changelog import Head
    from ghostwire.zqlite.reader import Reader

META: Final = "fence"
"""Where the store's own table keeps why it is fenced."""

HEARD: Final = "heard"
"""Where it keeps the highest epoch that it has heard of."""

PRIMARY: Final = "replica"
"""Where a replica keeps which primary it follows."""
STANDING: Final = (META, HEARD, PRIMARY)
"""What says where this copy stands, and is no other's business."""

ADVICE: Final = (
    "Nothing is written any more. Use the newer copy; or restore the newest backup (`ghostwire db restore`); or, if "
    "this copy is all there is, go on from it with `ghostwire db promote`"
)


def judge(reader: Reader, log: tuple[int, Head], told: tuple[int, Head]) -> str | None:
    """Why a store may not write on, now that it is known where another copy's log was; None if it may.

    Both are an epoch and a newest row, `log` the store's own. A head of an earlier epoch that the log does not have was
    left behind by a restore or a promotion.
    """
    (epoch, newest), (other, head) = log, told
    at = head.seq
    if other > epoch:
        return f"epoch {other} was opened by another copy of this store, this one is in epoch {epoch}"
    if other < epoch or at == 0:
        return None
    if at > newest.seq:
        return f"the log ends at row {newest.seq}, yet a head for row {at} was given out: this copy is older"
    row = reader.query_one(archive.HEAD, {"seq": at})
    if row is not None and row[2] != head.hash:
        return f"row {at} of the log is not the one that a head was given out for: two copies went apart"
    return None


def primary(reader: Reader) -> str | None:
    """The primary that this copy follows; None where it follows none."""
    url: str | None = reader.value("SELECT value FROM zq_meta WHERE key = ?", (PRIMARY,))
    return url


def fenced(reason: str) -> DatabaseError:
    """What every write is refused with."""
    return DatabaseError(f"{reason}. {ADVICE}")


def lay(applier: Applier, reason: str, heard: int) -> None:
    """Keep in the file why nothing may be written, and the epoch of who is ahead. Called between commits."""
    applier.own("INSERT OR REPLACE INTO main.zq_meta VALUES (?, ?), (?, ?)", (META, reason, HEARD, heard))
