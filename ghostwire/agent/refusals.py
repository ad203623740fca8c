"""Refusals by the coordinator: which of them last, and what their reader can do."""

from __future__ import annotations

from typing import Final

from ghostwire.wire.messages import Refusal

_PASSING: Final = frozenset({"unavailable", "resource_exhausted", "database", "internal", "wire"})


def is_lasting(refusal: Refusal) -> bool:
    """Whether asking again in a while would get the same answer."""
    return refusal.code not in _PASSING and refusal.retry_after is None


def leads_elsewhere(refusal: Refusal) -> bool:
    """Whether it is the way to the coordinator that is refused: a proxy in between, an address that is not its own."""
    return refusal.code == "unavailable" and refusal.retry_after is None


def advice(refusal: Refusal, registered: bool) -> str:
    """The coordinator's reason, and the next step where the reason does not show it."""
    reason = f"the coordinator refused this node: {refusal.message.rstrip('.')}."
    if "`ghostwire " in reason or refusal.code == "validation":
        return reason
    if not registered:
        hint = "make a key with `ghostwire key create --user NAME` on the coordinator, and use the line that it prints"
    elif refusal.code == "conflict":
        hint = "this folder holds another identity: `ghostwire logout`, or name another one with --state DIR"
    else:
        hint = (
            "come back with a new key, `ghostwire up --key KEY`; where the node was deleted, forget it first with "
            "`ghostwire logout --force`"
        )
    return f"{reason} What to do: {hint}."
