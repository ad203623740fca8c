"""What a run of the agent was told."""

from __future__ import annotations

import msgspec

from ghostwire.model.node import NodeFacts


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """Facts to report, and a pre-auth key where the node is to be registered with one."""

    facts: NodeFacts
    preauth_key: str | None = None

    def __repr__(self) -> str:
        return "<Join redacted>"
