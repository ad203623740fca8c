"""Making a copy the primary: a new epoch, opened by a row of its log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ghostwire.zqlite import fence, milestone

if TYPE_CHECKING:
    from ghostwire.zqlite.applier import Applier

KIND: Final = "zqlite.promote"


def promote(applier: Applier, epoch: int) -> None:
    """Open `epoch` in the store that `applier` writes. Called by the writer between commits."""
    head, connection = applier.head, applier.connection
    told = {"seq": head.seq, "hash": head.hash, "epoch": applier.epoch}
    with connection:
        entered = milestone.enter(connection, head, epoch, applier.group_key, (KIND, told))
        connection.execute("UPDATE zq_meta SET value = ? WHERE key = 'epoch'", (epoch,)).fetchall()
        connection.execute("DELETE FROM zq_meta WHERE key IN (?, 'replica')", (fence.META,)).fetchall()
    applier.epoch = epoch
    applier.adopt(entered, applier.catalogue)
