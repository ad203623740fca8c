"""What a coordinator of 50,000 nodes on two ordinary cores ought to reach, beside what a run has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ghostwire.testing.load.report import Report

NODES: Final = 50_000
"""For so many nodes the aims were set; with fewer, most are no test."""
KB: Final = 1000
GIB: Final = 1024**3
MIB: Final = 1024**2


class Aim(NamedTuple):
    """One of them. Numbers that were not measured count as not reached."""

    what: str
    aim: str
    measured: str
    reached: bool


def aims(found: Report) -> list[Aim]:
    """Every aim that this run says something of; none where it had fewer nodes."""
    return [*_sessions(found), *_changes(found), *_worst(found)] if found.nodes >= NODES else []


def _sessions(found: Report) -> Iterator[Aim]:
    join, memory = found.join, found.memory
    yield Aim("all joined", "120 s", _number(join.seconds, "s"), join.seconds <= 120 and not join.failed)
    yield Aim("server CPU of a join", "0.7 ms", _number(join.cpu_ms, "ms"), join.cpu_ms <= 0.7)
    if found.steady is not None:
        lost, seconds = found.steady.sessions_lost, found.steady.seconds
        yield Aim("sessions lost", "none in 600 s", f"{lost} in {seconds:.0f} s", not lost and seconds >= 600)
    session, node = memory.worker_bytes_per_session, memory.leader_bytes_per_node
    most = 40 if found.tls else 10
    yield Aim("memory of a session in a worker", f"{most} KB", _number(session / KB, "KB"), session <= most * KB)
    yield Aim("memory of a node in the leader", "4 KB", _number(node / KB, "KB"), node <= 4 * KB)
    total = memory.total_mib * MIB
    yield Aim("memory of the server", "2 GiB", _number(total / GIB, "GiB"), total <= 2 * GIB)
    if found.query is not None:
        query = found.query
        yield _ms("queries, p99", 1.0, query.p99_ms)
        raw = None if query.p99_ms is None or not query.raw_uvloop_p99_ms else query.p99_ms / query.raw_uvloop_p99_ms
        yield Aim("beside a bare uvloop server", "2 times", _number(raw, "times"), raw is not None and raw <= 2)


def _changes(found: Report) -> Iterator[Aim]:
    if found.change is not None:
        yield _ms(f"one change, told to {found.change.viewers:,}", 250.0, found.change.max_ms)
        yield _ms("the leader's own time for it", 0.15, found.change.leader_ms)
    if found.churn is not None:
        churn = found.churn
        most = churn.messages_per_node_window_max
        yield Aim("messages a node and window", "1", _number(most, ""), most is not None and most <= 1)
        if churn.window_ms is not None:
            yield _ms("staleness, p99: two windows", 2 * churn.window_ms, churn.staleness_p99_ms)
        spent = churn.cpu_us_per_delivery
        yield Aim("server CPU of a delivery", "15 us", _number(spent, "us"), spent <= 15)
    if found.policy is not None:
        yield _ms("policy edit of 1 % of the classes", 500.0, found.policy.ms)
        wrongly = found.policy.nodes_told_wrongly
        yield Aim("others told of it", "none", str(wrongly), not wrongly)


def _worst(found: Report) -> Iterator[Aim]:
    storm = found.storm
    if storm is not None:
        yield Aim("all back after a kill", "60 s", _number(storm.seconds, "s"), storm.seconds <= 60 and not storm.lost)
        back = storm.resumed_unchanged + storm.resumed_delta + storm.resumed_full + storm.lost
        share = 100 * storm.resumed_unchanged / max(back, 1)
        yield Aim("by `unchanged`", "at least 99 %", _number(share, "%"), share >= 99)
        yield _ms("queries meanwhile, p99", 10.0, storm.query_p99_ms)
    wrong = found.digest_mismatches
    yield Aim("maps that differ", "none", str(wrong), not wrong)


def _ms(what: str, most: float, measured: float | None) -> Aim:
    return Aim(what, f"{most:g} ms", _number(measured, "ms"), measured is not None and measured <= most)


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.3g} {unit}".strip() if abs(value) < 1000 else f"{value:,.0f} {unit}"
