from collections.abc import Mapping, Sequence
from typing import Literal, final

@final
class Tunnel:
    """A WireGuard tunnel with its own thread; every call may come from any thread and releases the GIL.

    `config` is JSON: `private_key` (hex), `port` (0: any; a taken one makes way for the next free one), `mtu` (1280),
    `tun` (device name, or null for userspace), `addresses`, `owner` (0 owns nothing). Raises ValidationError,
    ConflictError, PermissionDeniedError or UnavailableError; after `close` everything but `close` raises
    UnavailableError.
    """

    def __new__(cls, config: bytes) -> Tunnel: ...
    @property
    def mode(self) -> Literal["tun", "userspace"]: ...
    @property
    def port(self) -> int: ...
    @property
    def tun_name(self) -> str | None: ...
    def set_private_key(self, key: bytes) -> None:
        """Take a new key of 32 bytes; every session starts over, flows go on."""

    def set_addresses(self, addresses: Sequence[str], owner: int) -> None: ...
    def set_peers(self, peers: bytes) -> None:
        """Replace the whole set of peers: those not listed are cut before this returns.

        JSON list of `id`, `key` (hex), `allowed_ips`, `endpoints` (`ip:port`, best first), `class`, `owner`,
        `keepalive` (seconds), `until` (UTC ns, 0 for never). The same id with another key is the same peer after a
        rotation: its flows go on.
        """

    def set_filter(self, rules: bytes) -> None:
        """Replace the inbound filter (JSON list of FilterRule): flows it no longer allows end before this returns."""

    def set_names(self, names: Mapping[str, Sequence[str]]) -> None:
        """Name to addresses: all that the proxies resolve."""

    def socks5(self, address: str, open_proxy: bool = False, credentials: str | None = None) -> str:
        """Serve SOCKS5 on `ADDR:PORT` or `unix:/path`; returns the bound address.

        Without `credentials` (`user:password`) only the own uid is served, unless `open_proxy`.
        """

    def forward(self, local: str, peer: str, port: int, open_proxy: bool = False) -> str:
        """Forward a local listener to a port of a peer (name or address); returns the bound address."""

    def expose(self, port: int, local: str) -> None:
        """Connect what arrives over the tunnel on TCP `port` to `local`."""

    def ping(self, address: str, timeout_ms: int, size: int = 56) -> float | None:
        """Milliseconds of a round trip by ICMP echo; None without an answer. Blocks."""

    def peers(self) -> bytes:
        """JSON list of `id`, `endpoint`, `last_handshake_s`, `handshakes`, `rx_bytes`, `tx_bytes`, `rtt_ms`."""

    def stats(self) -> bytes:
        """JSON counters: `udp`, `tunnel`, `filter`, `proxy`, `flows`, `connections`, `peers`."""

    def take_hits(self) -> dict[int, int]:
        """What each rule of the policy let in or refused since the last call, by its id; what none accepted under 0.

        Flows that were let in, and attempts that were refused. Only what is not zero.
        """

    def take_flows(self) -> dict[int, tuple[int, int, int, int]]:
        """What passed between this node and each peer since the last call, by the peer's id, where anything did.

        Packets and bytes received, packets and bytes sent, without what the tunnel adds to them.
        """

    def tick(self, utc_ns: int) -> None:
        """Hand in a wall clock; the highest ever seen counts."""

    def close(self) -> None:
        """Stop the thread, free ports, remove the device. May be called again."""

def parse_headers(
    packet: bytes,
) -> tuple[str, str, int, Literal["ports", "echo", "error", "icmp", "opaque", "later"], int, int, int, int] | None:
    """Source, destination, protocol, kind, two numbers, offset of the payload, length; None if refused.

    The two numbers: `ports` source and destination port, `echo` identifier and 1 for a request, `icmp` type and code,
    `later` (a fragment that is not the first) identification and byte offset, else 0 and 0.
    """

def filter_decide(
    rules_json: bytes,
    peer_class: int,
    peer_owner: int,
    self_owner: int,
    self_addresses: Sequence[str],
    packet: bytes,
    utc_ns: int = 0,
) -> bool:
    """Whether a packet may start something, by the rules alone. Raises ValidationError on bad rules."""
