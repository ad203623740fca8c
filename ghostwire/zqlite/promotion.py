"""Making a copy the primary: a new epoch, opened by a row of its log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ghostwire.zqlite import fence, milestone

if TYPE_CHECKING:
    from ghostwire.zqlite.applier import Applier

KIND: Final = "zqlite.promote"


def promote(applier: Applier, above: int) -> int:
    """Open an epoch above `above`, the store's own and every one it has heard of. Called between commits."""
    head = applier.head
    heard: Any = applier.own("SELECT value FROM main.zq_meta WHERE key = ?", (fence.HEARD,)).get
    epoch = max(above, applier.epoch, heard or 0) + 1
    told = {"seq": head.seq, "hash": head.hash, "epoch": applier.epoch}
    applier.own("BEGIN IMMEDIATE")
    try:
        entered = milestone.enter(applier.own, head, epoch, applier.signer, (KIND, told))
        applier.own("UPDATE main.zq_meta SET value = ? WHERE key = 'epoch'", (epoch,))
        applier.own("DELETE FROM main.zq_meta WHERE key IN (?, ?, ?)", fence.STANDING)
        applier.own("COMMIT")
    except BaseException:
        if applier.connection.in_transaction:
            applier.own("ROLLBACK")
        raise
    applier.epoch = epoch
    applier.adopt(entered, applier.catalogue)
    return epoch
