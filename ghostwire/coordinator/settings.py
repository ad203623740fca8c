"""What an operator may set of the coordinator's behaviour."""

from __future__ import annotations

from typing import Literal

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The coordinator's settings. Times in seconds; 0 turns a limit off where its text says so."""

    network_id: str = "ghostwire"
    """Names this network in proofs and maps."""
    domain: str = "mesh.ghost"
    """The suffix of node names."""
    ipv4_pool: str = "100.64.0.0/10"
    """Where nodes' IPv4 addresses come from: a prefix from /8 to /32."""
    ipv6_pool: str = "fd7a:115c:a1e0::/48"
    """Where nodes' IPv6 addresses come from: its first 2**24 addresses are used."""
    allocation: Literal["sequential", "random"] = "sequential"
    """How the next address is chosen."""
    rest_s: float = 86_400.0
    """How long a released address stays unused."""
    ephemeral_rest_s: float = 3_600.0
    """The same for an ephemeral node's."""
    heartbeat_s: float = 30.0
    """How often nodes give a sign of life."""
    silence_s: float = 60.0
    """How long a node may be silent before its grace begins."""
    grace_s: float = 60.0
    """How long grace lasts before the node counts as offline."""
    restart_grace_s: float = 120.0
    """How long nodes that were online before a start have to come back unnoticed."""
    session_timeout_s: float = 86_400.0
    """Life of a session token, counted from its last use."""
    node_expiry_s: float = 0.0
    """Life of a node key that a user owns; 0: for ever."""
    key_rotation_s: float = 0.0
    """How often agents rotate their keys by themselves; 0: only when told."""
    max_age_s: float = 7 * 86_400.0
    """How long a node may use its map without hearing from the coordinator."""
    ephemeral_idle_s: float = 1_800.0
    """How long an ephemeral node may be away, after its first session, before it is removed."""
    flush_s: float = 5.0
    """How long facts that may be lost wait for the disk."""
    retries: int = 3
    """How often a decision is made again when a row it read has moved."""
    coalesce_s: float = 0.2
    """How long changes that may wait are gathered after the first one, under load up to ten times that; 0: not."""
    window: int = 16_384
    """How many changes are remembered for nodes that come back."""
    reserved_names: tuple[str, ...] = ()
    """Names that no node may take beside those that are always refused: the server's own."""
