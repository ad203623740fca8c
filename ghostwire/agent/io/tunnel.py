"""Drives the tunnel: the plan's steps become calls, its counters become values."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from pathlib import Path
from typing import Any, Final

import msgspec

from ghostwire._native import tunnel
from ghostwire.agent.io.journal import logger
from ghostwire.agent.plan import DropPeer, SetFilter, SetKey, SetPeer, SetSelf, Step
from ghostwire.agent.status import PeerCounters
from ghostwire.agent.wishes import DEFAULT_DEVICE, Wishes
from ghostwire.errors import GhostwireError, PermissionDeniedError, ValidationError
from ghostwire.model.flow import Flow

CREDENTIALS: Final = "proxy.auth"
_NET_ADMIN: Final = 12
_peers = msgspec.json.Decoder(list[PeerCounters])


class TunnelDriver:
    """One tunnel. `userspace_because` says why it has no device, where one was not refused by wish."""

    def __init__(self, native: tunnel.Tunnel, userspace_because: str) -> None:
        self.mode = native.mode
        self.port = native.port
        self.device = native.tun_name or ""
        self.userspace_because = userspace_because
        self.own_addresses: tuple[str, ...] = ()
        self._native = native
        self._own_names: dict[str, list[str]] = {}
        self._peers: dict[int, bytes] = {}
        self._names: dict[int, tuple[tuple[str, ...], list[str]]] = {}

    @classmethod
    def open(cls, wishes: Wishes, private: bytes) -> TunnelDriver:
        """Open the tunnel with a device where that may be, else in userspace.

        Raises what the tunnel raises; without a device that was insisted on, `PermissionDeniedError`.
        """
        proxies = wishes.socks5 or wishes.forwards or wishes.exposes
        because = "--userspace" if wishes.userspace else why_no_device()
        if wishes.tun and because:
            raise PermissionDeniedError(f"no TUN device {wishes.tun} can be made: {because}")
        if wishes.tun and proxies:
            raise ValidationError("--socks5, --forward and --expose are for a node without a device: leave out --tun")
        if proxies and not because:
            because = "--socks5, --forward and --expose are for a node without a device"
        if not because:
            try:
                return cls(_open(wishes, private, wishes.tun or DEFAULT_DEVICE), "")
            except GhostwireError as error:
                if wishes.tun:
                    raise
                because = error.message
        return cls(_open(wishes, private, None), because)

    def serve(self, wishes: Wishes, folder: Path) -> list[str]:
        """Open the proxies, forwards and exposed ports that were asked for; one line about each.

        Raises what the tunnel raises for the first that can't be.
        """
        if not wishes.open_proxy:
            for local in filter(None, (wishes.socks5, *(parse_forward(forward)[0] for forward in wishes.forwards))):
                check_near(local)
        lines = []
        if wishes.socks5:
            bound = self._native.socks5(wishes.socks5, wishes.open_proxy, _credentials(folder / CREDENTIALS))
            lines.append(f"SOCKS5 proxy at {bound}")
        for forward in wishes.forwards:
            local, peer, port = parse_forward(forward)
            bound = self._native.forward(local, peer, port, wishes.open_proxy)
            lines.append(f"{bound} leads to {peer} port {port}")
        for expose in wishes.exposes:
            port, local = parse_expose(expose)
            self._native.expose(port, local)
            lines.append(f"port {port} of this node leads to {local}")
        return lines

    def apply(self, steps: tuple[Step, ...], utc: int) -> None:
        """Carry out a plan: cuts, then what this node is, then its peers. On return every cut has happened."""
        self._native.tick(utc)
        before = dict(self._names)
        peers_changed = False
        filters: list[SetFilter] = []
        for step in steps:
            if isinstance(step, SetPeer):
                self._peers[step.peer.id] = msgspec.json.encode(_config(step))
                self._names[step.peer.id] = (step.names, _addresses(step.peer.ipv4, step.peer.ipv6))
                peers_changed = True
            elif isinstance(step, DropPeer):
                self._peers.pop(step.id, None)
                self._names.pop(step.id, None)
                peers_changed = True
            elif isinstance(step, SetKey):
                self._native.set_private_key(step.private)
            elif isinstance(step, SetSelf):
                self._set_self(step)
                before = {}
            else:
                filters.append(step)
        # The filter first: a new peer must not meet the rules of yesterday.
        for rules in filters:
            self._native.set_filter(msgspec.json.encode(rules.rules))
        if peers_changed:
            self._set_peers()
        if before != self._names:
            self._set_names()

    def counters(self) -> dict[int, PeerCounters]:
        """What is known of each peer."""
        return {peer.id: peer for peer in _peers.decode(self._native.peers())}

    def totals(self) -> tuple[int, int]:
        """Bytes received and sent through the tunnel's sockets."""
        udp = self.stats()["udp"]
        return udp["rx_bytes"], udp["tx_bytes"]

    def take_hits(self) -> dict[int, int]:
        """What each rule of the policy let in or refused since the last call, by its id."""
        return self._native.take_hits()

    def take_flows(self) -> dict[int, Flow]:
        """What was exchanged with each peer since the last call, by its id. Only who exchanged something."""
        return {peer: Flow(*counts) for peer, counts in self._native.take_flows().items()}

    def stats(self) -> dict[str, Any]:
        """All counters."""
        stats: dict[str, Any] = msgspec.json.decode(self._native.stats())
        return stats

    def ping(self, address: str, timeout_s: float) -> float | None:
        """Milliseconds to a peer's address and back, None without an answer. Blocks."""
        return self._native.ping(address, int(timeout_s * 1000))

    def close(self) -> None:
        """Stop the tunnel; the device is gone on return."""
        self._native.close()

    def _set_self(self, step: SetSelf) -> None:
        own = step.node
        self.own_addresses = tuple(_addresses(own.ipv4, own.ipv6))
        self._own_names = {own.name: list(self.own_addresses)}
        self._native.set_addresses(self.own_addresses, own.owner)

    def _set_peers(self) -> None:
        try:
            self._native.set_peers(b"[%b]" % b",".join(self._peers.values()))
        except ValidationError as error:
            # One peer that can't be must not keep another from being cut.
            usable = [config for config in self._peers.values() if _is_usable(msgspec.json.decode(config))]
            logger().error("the map holds peers that can't be: %s; %d go on", error, len(usable))
            self._native.set_peers(b"[%b]" % b",".join(usable))

    def _set_names(self) -> None:
        names = dict(self._own_names)
        for spelled, addresses in self._names.values():
            names.update(dict.fromkeys(spelled, addresses))
        self._native.set_names(names)


def why_no_device() -> str:
    """Why this process may not make a TUN device, empty where it may."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun can't be opened"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:") and not int(line.split()[1], 16) >> _NET_ADMIN & 1:
            return "it needs root or CAP_NET_ADMIN"
    return ""


def parse_forward(text: str) -> tuple[str, str, int]:
    """`LOCAL=PEER:PORT`: where to listen, a peer's name or address, its port. Raises `ValidationError`."""
    local, equals, target = text.partition("=")
    peer, colon, port = target.rpartition(":")
    peer = peer.removeprefix("[").removesuffix("]")
    if not (local and equals and peer and colon) or not _is_port(port):
        raise ValidationError(f"--forward {text} is not LOCAL=PEER:PORT, as in 127.0.0.1:8080=web:80")
    return local, peer, int(port)


def parse_expose(text: str) -> tuple[int, str]:
    """`PORT=LOCALADDR`: a port of this node and where it leads. Raises `ValidationError`."""
    port, equals, local = text.partition("=")
    if not (equals and local) or not _is_port(port):
        raise ValidationError(f"--expose {text} is not PORT=LOCALADDR, as in 80=127.0.0.1:8080")
    return int(port), local


def check_near(local: str) -> None:
    """Raise `ValidationError` where other machines could reach what listens there. The tunnel checks it again."""
    host = local.rpartition(":")[0].removeprefix("[").removesuffix("]")
    with contextlib.suppress(ValueError):
        if not ipaddress.ip_address(host).is_loopback:
            raise ValidationError(
                f"other machines could reach {local}: name a loopback address or unix:/PATH, or add --open-proxy"
            )


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


def _open(wishes: Wishes, private: bytes, device: str | None) -> tunnel.Tunnel:
    return tunnel.Tunnel(msgspec.json.encode({"private_key": private.hex(), "port": wishes.port, "tun": device}))


def _addresses(ipv4: str, ipv6: str) -> list[str]:
    return [address for address in (ipv4, ipv6) if address]


def _config(step: SetPeer) -> dict[str, Any]:
    peer = step.peer
    return {
        "id": peer.id,
        "key": peer.key.hex(),
        "allowed_ips": step.allowed_ips,
        "endpoints": peer.endpoints,
        "class": peer.class_id,
        "owner": peer.owner,
        "until": step.until,
    }


def _is_usable(config: dict[str, Any]) -> bool:
    try:
        for network in config["allowed_ips"]:
            ipaddress.ip_network(network)
        for endpoint in config["endpoints"]:
            host, _, port = endpoint.rpartition(":")
            ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
            if not 0 < int(port) < 65536:
                return False
    except ValueError:
        return False
    return len(config["key"]) == 64


def _credentials(file: Path) -> str | None:
    """`USER:PASSWORD` from a file that only the owner may read, None where there is no such file."""
    try:
        with file.open() as stream:
            if os.fstat(stream.fileno()).st_mode & 0o077:
                raise PermissionDeniedError(f"others may read {file}: run `chmod 600 {file}`")
            return stream.readline().strip()
    except FileNotFoundError:
        return None
