"""A simulation's report as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ghostwire.cli import screen
from ghostwire.cli.simulate.aims import aims
from ghostwire.testing.load import report


def render(found: report.Report, trace: report.Trace) -> str:
    """One line for each thing that was measured."""
    return screen.fields(rows(found) + aim_rows(found) + run_rows(trace))


def aim_rows(found: report.Report) -> list[tuple[str, str]]:
    """What was aimed at for so many nodes, and what of it was not reached."""
    beside = aims(found)
    missed = [f"{one.what} {one.measured} ({one.aim})" for one in beside if not one.reached]
    lines = [("aims", f"{len(beside) - len(missed)} of {len(beside)} reached")] if beside else []
    return lines + [("not reached", screen.bad(one)) for one in missed]


def run_rows(trace: report.Trace) -> list[tuple[str, str]]:
    """Name and value of what the run itself took and met with."""
    clients = trace.clients
    parts = [f"{clients.processes} processes, {clients.total_mib:.0f} MiB", f"{clients.cpu_ms_per_join:.2f} ms a join"]
    if clients.cpu_us_per_delivery is not None:
        parts.append(f"{clients.cpu_us_per_delivery:.0f} us a delivery")
    lines = [("clients", ", ".join(parts))]
    return lines + [("fault", screen.bad(fault)) for fault in trace.faults]


def rows(found: report.Report) -> list[tuple[str, str]]:
    """Name and value of each line of the report."""
    lines = [("nodes", f"{found.nodes:,}, {_processes(found.workers)}{', with TLS' if found.tls else ''}")]
    for field, name, spell in _PARTS:
        part = getattr(found, field)
        if part is not None:
            lines.append((name, spell(part)))
    wrong = f"{found.digest_mismatches} differ from the coordinator's"
    lines.append(("maps", screen.bad(wrong) if found.digest_mismatches else screen.good(wrong)))
    return lines


def ms(value: float | None) -> str:
    """Milliseconds, with as many digits as they are worth."""
    if value is None:
        return "-"
    if value >= 10_000:
        return f"{value / 1000:.1f} s"
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"


def _processes(workers: int) -> str:
    return f"{workers} workers" if workers else "one server process"


def _of(leader: float, workers: float) -> str:
    """Who took of it what, where there are several."""
    digits = 1 if workers < 10 else 0
    return f" ({leader:.{digits}f} the leader's, {workers:.{digits}f} its workers')" if workers else ""


def _join(join: report.Join) -> str:
    return (
        f"{join.rate:.0f} a second in {join.seconds:.1f} s, p50 {ms(join.p50_ms)}, p99 {ms(join.p99_ms)}, "
        f"{join.cpu_ms:.2f} ms of server CPU each{_of(join.leader_cpu_ms, join.workers_cpu_ms)}, {join.failed} failed"
    )


def _steady(steady: report.Steady) -> str:
    return f"{steady.seconds:.0f} s, never below {steady.sessions_min:,} sessions, {steady.sessions_lost} lost"


def _queries(query: report.Queries) -> str:
    return (
        f"{query.rate:,.0f} a second, p50 {ms(query.p50_ms)}, p99 {ms(query.p99_ms)}; "
        f"a bare uvloop server: p99 {ms(query.raw_uvloop_p99_ms)}"
    )


def _change(change: report.Change) -> str:
    return (
        f"{change.viewers:,} see it: p50 {ms(change.p50_ms)}, p99 {ms(change.p99_ms)}, all in {ms(change.max_ms)}, "
        f"{ms(change.leader_ms)} to decide it"
    )


def _churn(churn: report.Churn) -> str:
    return (
        f"{churn.rate:,.0f} changes a second, told {churn.deliveries_per_s:,.0f} times a second; stale by p50 "
        f"{ms(churn.staleness_p50_ms)}, p99 {ms(churn.staleness_p99_ms)}; "
        f"{churn.cpu_us_per_delivery:.0f} us of server CPU a delivery"
        f"{_of(churn.leader_cpu_us_per_delivery, churn.workers_cpu_us_per_delivery)}"
    )


def _policy(policy: report.PolicyEdit) -> str:
    return (
        f"{policy.classes_touched} classes: {policy.nodes_told} nodes told in {ms(policy.ms)}, "
        f"{policy.nodes_told_wrongly} told wrongly"
    )


def _storm(storm: report.Storm) -> str:
    return (
        f"all back in {storm.seconds:.1f} s: {storm.resumed_unchanged:,} unchanged, {storm.resumed_delta} by a delta, "
        f"{storm.resumed_full} by a whole map, {storm.lost} lost; queries meanwhile p99 {ms(storm.query_p99_ms)}"
    )


def _hostile(hostile: report.Hostile) -> str:
    tries = ", ".join(f"{name} {count}" for name, count in sorted(hostile.tries.items()))
    times = ""
    if hostile.query_p99_ms is not None and hostile.calm_p99_ms:
        times = f" ({hostile.query_p99_ms / hostile.calm_p99_ms:.1f} times)"
    return (
        f"{hostile.connections} connections ({tries}): queries of others p99 {ms(hostile.query_p99_ms)}, "
        f"before {ms(hostile.calm_p99_ms)}{times}, of a bare uvloop server meanwhile {ms(hostile.raw_uvloop_p99_ms)}; "
        f"{hostile.sessions_lost} sessions lost"
    )


def _memory(memory: report.Memory) -> str:
    return (
        f"{memory.total_mib:.0f} MiB in all, {memory.leader_bytes_per_node / 1024:.1f} KiB a node, "
        f"{memory.worker_bytes_per_session / 1024:.1f} KiB a session"
    )


_PARTS: Final[tuple[tuple[str, str, Callable[[Any], str]], ...]] = (
    ("join", "join", _join),
    ("steady", "steady", _steady),
    ("query", "queries", _queries),
    ("hostile", "hostile", _hostile),
    ("change", "one change", _change),
    ("churn", "churn", _churn),
    ("policy", "policy edit", _policy),
    ("storm", "storm", _storm),
    ("memory", "memory", _memory),
)
"""Field of the report, name of its line, and how it is spelled."""
