"""What `ghostwire serve` can be told, as one value: parsed, typed, without a default that needs IO."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ghostwire.coordinator.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what strangers and members may use. Sizes in bytes, times in seconds."""

    head_bytes: int = 16 * 1024
    head_s: float = 10.0
    body_bytes: int = 1024 * 1024
    body_s: float = 30.0
    handshakes: int = 512
    """Connections that may stand between accept and their first complete request head, TLS included."""
    handshakes_per_address: int = 256
    failures_per_s: float = 4.0
    """Connections from one address that may turn out no good, after `failures_burst`; then the next are turned away."""
    failures_burst: int = 100
    unproved_s: float = 20.0
    """How long a node connection may stay without a session."""
    connections: int = 18_000
    http_connections: int = 1024
    """Of those, connections that are no node's."""
    http_connections_per_address: int = 256
    messages_per_s: float = 50.0
    """Frames a second that one session may send on average, after a burst of `messages_burst`."""
    messages_burst: int = 200
    unread_bytes: int = 256 * 1024
    """What may wait for one slow session; then it is sent its whole map later instead of changes now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """Where standbys follow the store (`ADDRESS:PORT`), this end's key file, and the certificates that it admits.

    With `confirmed`, an answer waits until a standby has the change on its disk.
    """

    listen: str
    key_file: Path
    standbys: tuple[Path, ...]
    confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """One server. `data` is its directory; `settings` are the coordinator's.

    `listen` is `ADDRESS:PORT` (IPv6 in brackets; port 0 takes a free one). `public_urls` are the origins by which
    clients dial it; the first is what join commands show. TLS: self-signed unless `tls_cert` and `tls_key` name files
    or `tls_off` is set, which away from loopback needs `behind_proxy`. Forwarded headers count only from
    `trusted_proxies` (prefixes). `admin_uids` may use the admin socket beside root and the server's own user.
    `store_key` names a key file, `store_credential` a systemd credential; the text in `passphrase_file` derives the key
    instead; with none of them, `data/store.key` is used or made.
    `database` is the durable store's file, `data/ghostwire.db` by default; `cache_bytes` bounds its page cache.
    `replication` lets standbys follow it. `workers` share the port as processes of their own; 0: all in one process.
    """

    data: Path
    settings: Settings
    listen: str = "0.0.0.0:8443"
    public_urls: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_off: bool = False
    behind_proxy: bool = False
    trusted_proxies: tuple[str, ...] = ()
    admin_uids: tuple[int, ...] = ()
    store_key: Path | None = None
    store_credential: str | None = None
    passphrase_file: Path | None = None
    database: Path | None = None
    cache_bytes: int = 256 * 1024 * 1024
    replication: Replication | None = None
    workers: int = 0
    limits: Limits = field(default_factory=Limits)
