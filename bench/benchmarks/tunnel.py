"""The tunnel: a download between two rootless tunnels through SOCKS5, and what the filter costs a packet."""

import json
from contextlib import ExitStack

from bench import tunnel as pair
from ghostwire._native import tunnel
from tests.native.mesh import addresses

SIZE = 250_000_000
ROUNDS = 3

PACKET = bytes.fromhex("4500002800010000400600006440000264400001c3500016000000000000000050020000") + bytes(8)
RULES = json.dumps([{"classes": [number], "ports": [[number, number]]} for number in range(200)]).encode()


class Download:
    """Two processes with a tunnel each; the server and the client are processes of their own."""

    def rates(self) -> list[tuple[float, float]]:
        with ExitStack() as stack:
            return pair.download_pairs(stack, SIZE, ROUNDS)

    def track_gbit_s(self) -> float:
        return max(through for through, _ in self.rates())

    def track_share_of_bare_loopback(self) -> float:
        return max(through / bare for through, bare in self.rates())

    track_gbit_s.unit = "Gbit/s"
    track_share_of_bare_loopback.unit = "ratio"


class Filter:
    """A TCP SYN, parsed; and judged by 200 rules that are parsed with it."""

    gate_calls = 20_000

    def time_parse_headers(self) -> None:
        tunnel.parse_headers(PACKET)

    def time_decide_with_rules(self) -> None:
        tunnel.filter_decide(RULES, 22, 0, 0, [addresses(1)[0]], PACKET)
