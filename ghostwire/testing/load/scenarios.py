"""The scenarios, each a function of the stage: what it does to the network, and what it measures of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

from ghostwire.errors import InternalError
from ghostwire.testing.load.latencies import Latencies
from ghostwire.testing.load.orders import Progress
from ghostwire.testing.load.report import Change, Churn, Join, PolicyEdit, Queries, Steady, Storm
from ghostwire.testing.load.stage import Stage
from ghostwire.testing.load.topology import HUB

JOINS_PER_S: Final = 500.0
JOIN_PATIENCE_S: Final = 120.0
STEADY_CHANGES: Final = 1 / 500
"""Endpoint changes a second and node while nothing else happens: 100 a second of 50,000 nodes."""
CHURN_CHANGES: Final = 1 / 50
"""The same in the churn scenario: 1,000 a second of 50,000."""
CHURN_S: Final = (4.0, 10.0)
"""How long the churn scenario lasts, at the least and at the most: a second for each thousand nodes."""
ANNOUNCEMENTS: Final = 5
ANNOUNCEMENT_S: Final = 1.0
QUERIES_PER_S: Final = 30.0
"""Of each node that asks: 3,000 a second in all."""
QUERY_ROUNDS: Final = 3
QUERY_S: Final = 3.0
ROUND_S: Final = 2 * QUERY_S + 1.0
"""A round of questions, half of them to the bare server, and what starting that takes."""
SHORTEST_QUERY_S: Final = 0.25
FLUSH_S: Final = 6.0
"""Longer than what may be lost waits for the disk."""
STORM_PATIENCE_S: Final = 180.0
STORM_QUERIES_PER_S: Final = 2.0
STORM_QUERY_S: Final = 3.0
POLICY_PATIENCE_S: Final = 30.0


def join(stage: Stage) -> Join:
    """Every node joins, at a steady rate that the server does not choose."""
    stage.scene("join")
    stage.count()
    everyone = stage.connected
    with stage.spent() as spent:
        at = time.monotonic() + 0.2
        stage.fleet.join(at, JOINS_PER_S)
        stage.fleet.wait(everyone / JOINS_PER_S + JOIN_PATIENCE_S, lambda progress: progress.sessions >= everyone)
        found = stage.count("join", lambda count: count.joins)
        stage.settle()
    if not found.joined:
        raise InternalError(f"no node could join: {'; '.join(found.faults[:1]) or dict(found.refusals)}")
    seconds = found.last_session - at
    stage.note_clients(join_cpu_ms=spent.clients_s * 1000 / everyone)
    return Join(
        seconds=seconds,
        rate=found.joined / seconds,
        p50_ms=found.joins.percentile(50),
        p99_ms=found.joins.percentile(99),
        cpu_ms=spent.server.total * 1000 / everyone,
        leader_cpu_ms=spent.server.leader * 1000 / everyone,
        workers_cpu_ms=spent.server.workers * 1000 / everyone,
        failed=everyone - found.joined,
    )


def steady(stage: Stage, seconds: float) -> tuple[Steady, Queries]:
    """Nothing happens but heartbeats, a few changes and queries, for so long or as long as a round of those takes.

    The report says how long it was.
    """
    stage.scene("steady")
    stage.count()
    stage.lowest = stage.connected
    asking = len(stage.askers)
    began = time.monotonic()
    stage.fleet.churn(began, max(1.0, stage.connected * STEADY_CHANGES), seconds)
    queries = _queries(stage, *query_rounds(seconds))
    stage.fleet.wait(began + seconds - time.monotonic())
    lasted = time.monotonic() - began
    found = stage.count("change while steady")
    missing = stage.questions.missing()
    return (
        Steady(seconds=lasted, sessions_min=stage.lowest + asking - missing, sessions_lost=found.lost + missing),
        queries,
    )


def query_rounds(seconds: float) -> tuple[int, float]:
    """How many rounds of questions so many seconds have room for, and how long each half of one lasts."""
    rounds = min(QUERY_ROUNDS, int(seconds // ROUND_S))
    return (rounds, QUERY_S) if rounds else (1, max(SHORTEST_QUERY_S, QUERY_S * (seconds - 1.0) / (ROUND_S - 1.0)))


def _queries(stage: Stage, rounds: int, seconds: float) -> Queries:
    rate = len(stage.askers) * QUERIES_PER_S
    ours, bare = [], []
    for turn in range(rounds):
        ours.append(stage.questions.ask(rate, seconds))
        bare.append(stage.questions.ask_bare(rate, seconds))
        if turn == rounds - 1:
            stage.keep("query", ours[-1])
            stage.keep("query of a bare uvloop server", bare[-1])
        stage.fleet.wait(0.0)

    def median(of: list[float | None]) -> float | None:
        known = [value for value in of if value is not None]
        return statistics.median(known) if known else None

    return Queries(
        rate=rate,
        p50_ms=median([one.percentile(50) for one in ours]),
        p99_ms=median([one.percentile(99) for one in ours]),
        raw_uvloop_p99_ms=median([one.percentile(99) for one in bare]),
    )


def change(stage: Stage) -> Change:
    """The node that most nodes see changes its endpoints, a few times."""
    stage.scene("change")
    stage.settle()
    stage.count()
    before = stage.subject.metrics()
    for _ in range(ANNOUNCEMENTS):
        stage.fleet.announce(HUB)
        stage.fleet.wait(ANNOUNCEMENT_S)
    found = stage.count("one change, all who see it")
    command = "ghostwire_coordinator_command_cpu_seconds_total{SetEndpoints}"
    spent = stage.subject.metrics().get(command, 0.0) - before.get(command, 0.0)
    return Change(
        viewers=len(found.told),
        p50_ms=found.changes.percentile(50),
        p99_ms=found.changes.percentile(99),
        max_ms=found.changes.percentile(100),
        leader_ms=spent * 1000 / ANNOUNCEMENTS,
    )


def churn(stage: Stage) -> Churn:
    """Nodes change their endpoints all the time."""
    stage.scene("churn")
    stage.settle()
    stage.count()
    rate = max(5.0, stage.connected * CHURN_CHANGES)
    seconds = min(max(CHURN_S[0], stage.connected / 1000), CHURN_S[1])
    before = stage.subject.metrics()
    with stage.spent() as spent:
        stage.fleet.churn(time.monotonic(), rate, seconds)
        stage.fleet.wait(seconds)
        stage.settle()
    found = stage.count("change under churn")
    windows = "ghostwire_netmap_windows_total"
    begun = stage.subject.metrics().get(windows, 0.0) - before.get(windows, 0.0)
    told = max(found.deliveries, 1)
    stage.note_clients(delivery_cpu_us=spent.clients_s * 1e6 / told)
    return Churn(
        rate=rate,
        deliveries_per_s=found.deliveries / seconds,
        staleness_p50_ms=found.changes.percentile(50),
        staleness_p99_ms=found.changes.percentile(99),
        messages_per_node_window_max=found.most / begun if begun else None,
        window_ms=seconds * 1000 / begun if begun else None,
        cpu_us_per_delivery=spent.server.total * 1e6 / told,
        leader_cpu_us_per_delivery=spent.server.leader * 1e6 / told,
        workers_cpu_us_per_delivery=spent.server.workers * 1e6 / told,
    )


def policy(stage: Stage) -> PolicyEdit:
    """One class in a hundred may reach itself on one more port: its members' filters change, nobody else's."""
    stage.scene("policy")
    stage.settle()
    stage.count()
    touched = set(stage.topology.tags()[::100])
    concerned = {number for number in range(stage.connected) if stage.topology.tag(number) in touched}
    text = stage.topology.policy(sorted(touched))
    began = time.monotonic()
    stage.subject.ask(lambda admin: admin.put("/v1/policy", {"text": text, "note": "one more port"}))
    stage.settle(POLICY_PATIENCE_S)
    found = stage.count()
    return PolicyEdit(
        classes_touched=len(touched),
        nodes_told=len(found.told & concerned),
        nodes_told_wrongly=len(found.told - concerned),
        ms=(found.last_delivery - began) * 1000,
    )


def storm(stage: Stage) -> Storm:
    """The server is killed and started again, and every node comes back as agents do."""
    stage.scene("storm")
    stage.settle()
    stage.fleet.wait(FLUSH_S)
    stage.count()
    killed = time.monotonic()
    stage.subject.kill()
    stage.subject.start()
    everyone = stage.connected
    queries = _queries_until(stage, lambda progress: progress.sessions >= everyone)
    stage.keep("query during the storm", queries)
    found = stage.count()
    if not found.last_session:
        raise InternalError("no node came back to the restarted server")
    return Storm(
        seconds=found.last_session - killed,
        resumed_unchanged=found.resumed["unchanged"],
        resumed_delta=found.resumed["delta"],
        resumed_full=found.resumed["full"],
        lost=everyone - found.sessions,
        query_p99_ms=queries.percentile(99),
    )


def _queries_until(stage: Stage, over: Callable[[Progress], bool]) -> Latencies:
    """Queries from the nodes that ask, as soon as they are back and until the storm is over."""
    deadline = time.monotonic() + STORM_PATIENCE_S
    stage.questions.again(STORM_PATIENCE_S)
    found = Latencies()
    while time.monotonic() < deadline:
        stage.questions.begin(len(stage.askers) * STORM_QUERIES_PER_S, STORM_QUERY_S)
        ended = stage.fleet.wait(STORM_QUERY_S, over)
        found.merge(stage.questions.end().encode())
        if ended:
            break
    return found
