"""A leader without a machine around it: `python -m bench.load.virtual NODES... [--visible N] [--plot FILE.svg]`.

Each size is measured in a process of its own, without sockets and disk, in simulated time: what a node takes of memory,
what compiling the policy takes, what a change costs whose viewers are as many at each size, what a second of everyone's
heartbeats costs. Nodes are put into a snapshot, not registered. The policy has two rules for each node up to 100,000.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

from bench.networks import Network, address
from ghostwire.cli.simulate.plot import Curve, growth
from ghostwire.coordinator.commands import HeartbeatNode, SetEndpoints
from ghostwire.coordinator.effects import SessionOpened
from ghostwire.policy import Engine, NodeFacts, Policy
from ghostwire.testing.load.topology import RULES_A_NODE, Topology

MOST_RULES = 100_000
ROUNDS = 5
CHANGES = 100
WINDOW_S = 2.5
"""Longer than any window in which changes are gathered: each of ours is told at once."""
BEATS = 20_000


def topology_of(nodes: int, visible: int) -> Topology:
    return Topology(nodes, visible, min(RULES_A_NODE, MOST_RULES / nodes))


def leader(nodes: int, visible: int) -> dict[str, float]:
    """What a leader takes that knows so many nodes."""
    topology = topology_of(nodes, visible)
    before = resident()
    began = time.perf_counter()
    network = Network(nodes, policy=topology.policy(), tag=topology.tag)
    loaded = time.perf_counter() - began
    held = resident() - before
    opened = open_cell(network, topology)
    return {
        "nodes": nodes,
        "load_s": loaded,
        "bytes_per_node": held / nodes,
        "change_us": change(network, opened),
        "heartbeat_us": heartbeat(network, opened),
    }


def compiling(nodes: int, visible: int) -> dict[str, float]:
    """What the policy alone takes."""
    topology = topology_of(nodes, visible)
    text = topology.policy()
    facts = [
        NodeFacts(id=number, user=None, tags=(topology.tag(number),), addresses=(address(number),))
        for number in range(nodes)
    ]
    began = time.perf_counter()
    policy = Policy.parse(text)
    parsed = time.perf_counter()
    Engine.build(policy, [], facts)
    return {
        "rules": len(json.loads(text)["acls"]),
        "parse_s": parsed - began,
        "compile_s": time.perf_counter() - parsed,
    }


def open_cell(network: Network, topology: Topology) -> list[SessionOpened]:
    """The sessions of the first cell, whose nodes see each other; they are everyone who is connected."""
    return [network.connect(number) for number in range(1, 1 + topology.cell_size)]


def change(network: Network, opened: list[SessionOpened]) -> float:
    """Microseconds from an endpoint change to what is sent of it: the median of the quietest round."""
    rounds = (range(start, start + CHANGES) for start in range(0, ROUNDS * CHANGES, CHANGES))
    return min(statistics.median(_changes(network, opened, turns)) for turns in rounds) * 1e6


def _changes(network: Network, opened: list[SessionOpened], turns: range) -> list[float]:
    times = []
    for turn in turns:
        roaming = opened[turn % len(opened)]
        network.clock.advance(WINDOW_S)
        network.coordinator.handle_timeout(network.clock())
        network.drain()
        endpoint = f"192.0.2.1:{1024 + turn}"
        began = time.perf_counter()
        network.ask(SetEndpoints, node=roaming.node, session=roaming.session, endpoints=(endpoint,))
        times.append(time.perf_counter() - began)
        for live in opened:
            network.ask(HeartbeatNode, node=live.node, session=live.session)
    return times


def heartbeat(network: Network, opened: list[SessionOpened]) -> float:
    """Microseconds for a sign of life."""
    began = time.perf_counter()
    for turn in range(BEATS):
        live = opened[turn % len(opened)]
        network.ask(HeartbeatNode, node=live.node, session=live.session)
    return (time.perf_counter() - began) / BEATS * 1e6


def resident() -> int:
    """Bytes in use, without what the allocator merely keeps."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def measured(nodes: int, visible: int) -> dict[str, float]:
    """Both halves, each in a process of its own."""
    found: dict[str, float] = {}
    for half in ("leader", "compiling"):
        words = [sys.executable, "-m", "bench.load.virtual", str(nodes), "--visible", str(visible), "--half", half]
        found |= json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    return found


def table(rows: list[dict[str, float]]) -> str:
    """For the manual."""
    lines = [
        "| nodes | rules | memory a node | compile | one change, same viewers | heartbeat | load |",
        "|---" * 7 + "|",
    ]
    lines += [
        f"| {row['nodes']:,.0f} | {row['rules']:,.0f} | {row['bytes_per_node'] / 1024:.1f} KiB "
        f"| {row['parse_s'] + row['compile_s']:.2f} s | {row['change_us']:.0f} us | {row['heartbeat_us']:.1f} us "
        f"| {row['load_s']:.1f} s |"
        for row in rows
    ]
    return "\n".join(lines)


def plot(rows: list[dict[str, float]]) -> str:
    """How each figure grows, as multiples of the smallest network's."""
    names = {
        "bytes_per_node": "memory a node",
        "change_us": "one change, same viewers",
        "compile_s": "compiling the policy",
        "load_s": "loading everything",
    }
    curves = [
        Curve(name, tuple((row["nodes"], row[key] / rows[0][key]) for row in rows)) for key, name in names.items()
    ]
    return growth(curves, "nodes", "times the smallest network's")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nodes", type=int, nargs="+")
    parser.add_argument("--visible", type=int, default=200)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--half", choices=("leader", "compiling"))
    given = parser.parse_args()
    if given.half:
        half = leader if given.half == "leader" else compiling
        print(json.dumps(half(given.nodes[0], given.visible)))
        return
    rows = []
    for nodes in given.nodes:
        rows.append(measured(nodes, given.visible))
        print(json.dumps(rows[-1]), flush=True)
    print(table(rows))
    if given.plot is not None:
        given.plot.write_text(plot(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
