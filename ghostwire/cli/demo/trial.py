"""What the demo shows: pings and a page through the tunnels, and two connections that the policy refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ghostwire.cli.demo import socks
from ghostwire.cli.demo.mesh import PATIENCE_S, WEB_PORT, Mesh
from ghostwire.cli.demo.page import PAGE
from ghostwire.errors import NotFoundError, UnavailableError

PINGS: Final = (("laptop", "web"), ("phone", "web"))
FETCHES: Final = (("laptop", "web"),)
DENIALS: Final = (("phone", "web"), ("phone", "laptop"))
FETCH_S: Final = 15.0
REFUSAL_S: Final = 1.5
"""How long a refused connection is tried. A packet filter that drops gives no answer, so time has to tell."""


@dataclass(frozen=True, slots=True)
class Ping:
    """A round trip over WireGuard; -1 ms without an answer."""

    source: str
    to: str
    rtt_ms: float
    ok: bool


@dataclass(frozen=True, slots=True)
class Fetch:
    """A page from one node through another's tunnel."""

    source: str
    to: str
    bytes: int
    ok: bool


@dataclass(frozen=True, slots=True)
class Denial:
    """A connection that the policy refuses; `ok`: it was refused."""

    source: str
    to: str
    port: int
    ok: bool


@dataclass(slots=True)
class Results:
    """Everything that was tried."""

    nodes: list[dict[str, str]] = field(default_factory=list)
    pings: list[Ping] = field(default_factory=list)
    fetches: list[Fetch] = field(default_factory=list)
    denied: list[Denial] = field(default_factory=list)
    wireguard: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether all of it held."""
        tried: list[Ping | Fetch | Denial] = [*self.pings, *self.fetches, *self.denied]
        return len(self.nodes) == 3 and bool(tried) and all(one.ok for one in tried) and self.wireguard["rx_bytes"] > 0

    def as_dict(self, seconds: float) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.ok,
            "nodes": self.nodes,
            "pings": [_plain(one) for one in self.pings],
            "fetches": [_plain(one) for one in self.fetches],
            "denied": [_plain(one) for one in self.denied],
            "wireguard": self.wireguard,
            "seconds": round(seconds, 3),
        }


def _plain(one: Ping | Fetch | Denial) -> dict[str, Any]:
    return {"from" if name == "source" else name: value for name, value in asdict(one).items()}


def ping(mesh: Mesh, source: str, to: str, patience_s: float = PATIENCE_S) -> Ping:
    """Ping until there is an answer: the first packets wait for the handshake."""
    agent = mesh.agents[source]
    deadline = time.monotonic() + patience_s
    while True:
        try:
            rtt = agent.ping(to, 2.0)
        except NotFoundError:
            rtt = None
            time.sleep(0.05)
        if rtt is not None:
            return Ping(source, to, round(rtt, 3), True)
        if time.monotonic() > deadline:
            return Ping(source, to, -1.0, False)


def fetch(mesh: Mesh, source: str, to: str) -> Fetch:
    """Get the page of `to` by its mesh name, through the proxy of `source`."""
    try:
        body = socks.fetch(mesh.agents[source].proxy, to, WEB_PORT, FETCH_S)
    except UnavailableError:
        return Fetch(source, to, 0, False)
    return Fetch(source, to, len(body), body == PAGE)


def deny(mesh: Mesh, source: str, to: str) -> Denial:
    """Try to open the port of `to` from `source` by its address, which the policy forbids."""
    address = mesh.agents[to].status()["self"]["ipv4"]
    try:
        socks.connect(mesh.agents[source].proxy, address, WEB_PORT, REFUSAL_S).close()
    except UnavailableError:
        return Denial(source, to, WEB_PORT, True)
    return Denial(source, to, WEB_PORT, False)


def traffic(statuses: list[dict[str, Any]]) -> dict[str, int]:
    """Handshakes that stand and bytes that moved, summed over the nodes."""
    peers = [peer for status in statuses for peer in status["peers"]]
    return {
        "handshakes": sum(peer["last_handshake_s"] is not None for peer in peers),
        "tx_bytes": sum(peer["tx_bytes"] for peer in peers),
        "rx_bytes": sum(peer["rx_bytes"] for peer in peers),
    }


def run(mesh: Mesh, tell: Callable[[str], None]) -> Results:
    """Try everything once."""
    results = Results()
    for source, to in PINGS:
        answer = ping(mesh, source, to)
        results.pings.append(answer)
        tell(f"{source} pings {to}: {f'{answer.rtt_ms} ms' if answer.ok else 'no answer'}")
    for source, to in FETCHES:
        page = fetch(mesh, source, to)
        results.fetches.append(page)
        tell(f"{source} opens http://{to}/: {page.bytes} bytes" + ("" if page.ok else ", not the page"))
    with ThreadPoolExecutor(len(DENIALS)) as pool:
        results.denied = list(pool.map(lambda pair: deny(mesh, *pair), DENIALS))
    for denial in results.denied:
        outcome = "refused, as the policy says" if denial.ok else "open, against the policy"
        tell(f"{denial.source} opens {denial.to}:{denial.port}: {outcome}")
    statuses = [agent.status() for agent in mesh.agents.values()]
    results.nodes = [{name: status["self"][name] for name in ("name", "ipv4", "ipv6")} for status in statuses]
    results.wireguard = traffic(statuses)
    return results
