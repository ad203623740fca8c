"""Everything that is counted, as Prometheus reads it. Counters live where they are counted; here they get names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ghostwire.server.status import WorkersStatus

BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Seconds: from a quick read to a stall."""


class Timings:
    """Durations that are worth a distribution. The coordinator has no clock: it says what it built, not how long."""

    __slots__ = ("_built", "commands", "delta_viewers", "netmap_build", "query", "registry", "store")

    def __init__(self) -> None:
        self._built = 0
        self.commands: dict[str, tuple[int, float, float]] = {}
        self.registry = CollectorRegistry()
        self.netmap_build = Histogram(
            "ghostwire_netmap_build_seconds", "Time to build a whole map.", registry=self.registry, buckets=BUCKETS
        )
        self.query = Histogram(
            "ghostwire_zqlite_query_seconds",
            "Time from handing a change to the store until it is on disk.",
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.store = Histogram(
            "ghostwire_zqlite_seconds",
            "Time that the stores took, by what they did: query, commit, checkpoint, backup.",
            ["operation"],
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.delta_viewers = Histogram(
            "ghostwire_netmap_delta_viewers",
            "Sessions that one encoded delta went to.",
            registry=self.registry,
            buckets=(1, 10, 100, 1000, 10_000, 100_000),
        )

    def netmap_built(self, peers: int, pages: int) -> None:
        """The coordinator built a whole map."""
        self._built += 1

    def delta_encoded(self, viewers: int, size: int) -> None:
        """The coordinator encoded a delta once, for so many sessions."""
        self.delta_viewers.observe(viewers)

    def handled(self, command: str, seconds: float, cpu_s: float) -> int:
        """A command took so long: if whole maps were built, that is what it was for. Returns how many were."""
        count, total, total_cpu_s = self.commands.get(command, (0, 0.0, 0.0))
        self.commands[command] = (count + 1, total + seconds, total_cpu_s + cpu_s)
        built, self._built = self._built, 0
        if built:
            self.netmap_build.observe(seconds / built)
        return built


class Counted(Collector):
    """Reads plain counters when Prometheus asks."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        yield from self._read()


def counter(name: str, text: str, value: float | dict[str, int] | dict[str, float], label: str = "") -> Metric:
    """A counter: one value, or one for each value of a label."""
    if isinstance(value, dict):
        family = CounterMetricFamily(name, text, labels=[label])
        for key, count in sorted(value.items()):
            family.add_metric([key], count)
        return family
    return CounterMetricFamily(name, text, value=value)


def gauge(name: str, text: str, value: float | dict[str, float], label: str = "") -> Metric:
    """A gauge: one value, or one for each value of a label."""
    if isinstance(value, dict):
        family = GaugeMetricFamily(name, text, labels=[label])
        for key, level in sorted(value.items()):
            family.add_metric([key], level)
        return family
    return GaugeMetricFamily(name, text, value=value)


def blocks(stats: dict[str, int]) -> Iterator[Metric]:
    """The cache of decoded blocks behind the nodes' metrics."""
    reads = {name: stats[name] for name in ("hits", "misses")}
    yield counter("ghostwire_zqlite_blocks_reads", "Reads of blocks by whether the cache had them.", reads, "result")
    yield counter("ghostwire_zqlite_blocks_joined", "Misses that waited for another reader's load.", stats["joined"])
    yield counter("ghostwire_zqlite_blocks_evictions", "Blocks that made room for others.", stats["evictions"])
    yield counter("ghostwire_zqlite_blocks_decode_seconds", "Time to open and decode blocks.", stats["decode_ns"] / 1e9)
    yield gauge("ghostwire_zqlite_blocks_cached", "Decoded blocks in memory.", stats["blocks"])
    yield gauge("ghostwire_zqlite_blocks_cached_bytes", "What they take.", stats["bytes"])


def processes(workers: WorkersStatus) -> Iterator[Metric]:
    """The workers, by process."""
    sessions = {str(worker.pid): float(worker.sessions) for worker in workers.standing}
    lag = {str(worker.pid): float(worker.lag) for worker in workers.standing}
    yield gauge("ghostwire_worker_sessions", "Sessions by worker.", sessions, "pid")
    yield gauge("ghostwire_worker_lag", "Batches of its feed that a worker has yet to confirm.", lag, "pid")
    yield counter("ghostwire_workers_replaced", "Workers that died or were killed.", workers.replaced)


class Exposition:
    """The metrics of one server. `server` is read when asked, never before it has started."""

    __slots__ = ("_server", "timings")

    def __init__(self, server: Any, timings: Timings) -> None:
        self._server = server
        self.timings = timings
        timings.registry.register(Counted(self._read))

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.timings.registry)

    def _read(self) -> Iterator[Metric]:
        server = self._server
        driver = server.driver
        counters, port = driver.coordinator.view.counters, server.port_counts()
        mismatches = counters.digest_mismatches + port.digest_mismatches
        yield counter("ghostwire_node_registrations", "Registrations that stand.", counters.registrations)
        yield counter(
            "ghostwire_node_registrations_refused", "Registrations that were refused.", counters.registrations_refused
        )
        yield counter("ghostwire_heartbeats", "Heartbeats by what became of them.", counters.heartbeats, "result")
        yield counter("ghostwire_session_checks", "Session tokens checked.", counters.session_checks, "result")
        yield counter(
            "ghostwire_netmap_sent",
            "Maps by how they were brought up to date.",
            {how: count + port.maps.get(how, 0) for how, count in counters.maps.items()},
            "how",
        )
        pacer = driver.coordinator.view.pacer
        yield counter("ghostwire_netmap_windows", "Windows that have begun: one message a node each.", pacer.windows)
        yield gauge("ghostwire_netmap_window_seconds", "How long such a window lasts now.", pacer.length_s)
        yield gauge("ghostwire_netmap_waiting", "Nodes that wait for the end of the window.", pacer.waiting)
        yield counter("ghostwire_netmap_digest_mismatches", "Maps that differed.", mismatches)
        behind = server.standbys.behind
        yield gauge("ghostwire_replication_standbys", "Standbys that are connected.", len(behind))
        yield gauge("ghostwire_replication_behind_rows", "Rows the slowest has to confirm.", max(behind, default=0))
        fenced = server.store.durable.fenced is not None
        yield gauge("ghostwire_store_fenced", "1 when another copy of the store is ahead of this one.", int(fenced))
        yield counter("ghostwire_coordinator_conflicts", "Decisions whose rows had moved on.", counters.conflicts)
        yield counter("ghostwire_coordinator_failures", "Decisions that the store refused.", counters.failures)
        commands = self.timings.commands
        yield counter(
            "ghostwire_coordinator_commands",
            "Commands.",
            {name: count for name, (count, _, _) in commands.items()},
            "command",
        )
        yield counter(
            "ghostwire_coordinator_command_seconds",
            "Time in the coordinator, by command; what waits for the disk or is sent is not in it.",
            {name: seconds for name, (_, seconds, _) in commands.items()},
            "command",
        )
        yield counter(
            "ghostwire_coordinator_command_cpu_seconds",
            "What of that its thread had a processor: without waits for other threads and processes.",
            {name: cpu_s for name, (_, _, cpu_s) in commands.items()},
            "command",
        )
        recovery = server.reporter.recovery.status()
        yield counter("ghostwire_sessions_opened", "Node sessions that stood.", port.opened)
        yield counter("ghostwire_session_queries", "Queries of nodes.", port.queries)
        yield counter("ghostwire_session_refusals", "Requests of nodes refused.", port.refused, "code")
        yield counter("ghostwire_session_resyncs", "Whole maps sent again.", port.resyncs)
        yield counter("ghostwire_sessions_postponed", "Nodes that were given a time to come back.", port.postponed)
        yield gauge("ghostwire_sessions_opened_per_second", "Pace while there is a queue.", port.opened_per_s)
        yield gauge(
            "ghostwire_recovery_nodes",
            "Nodes that were there before the start.",
            {"back": recovery.back, "missing": recovery.expected - recovery.back},
            "state",
        )
        yield gauge("ghostwire_recovery_seconds", "From the start to the last that is back.", recovery.seconds or 0.0)
        yield counter("ghostwire_connections_refused", "Connections beyond a bound.", port.connections_refused)
        yield counter("ghostwire_fanout_sent", "Broadcast frames sent.", port.sent)
        yield counter("ghostwire_fanout_skipped", "Broadcast frames not sent to slow readers.", port.skipped)
        yield gauge("ghostwire_sessions", "Node sessions that stand.", len(driver.outlet))
        yield gauge("ghostwire_connections", "Public connections that stand.", port.connections)
        yield from processes(driver.outlet.workers())
        yield gauge(
            "ghostwire_queue_depth",
            "What waits, by where.",
            {
                "commands": driver.pending,
                "commits": driver.committing,
                "fanout": port.fanout,
                "handshakes": port.handshakes,
                "sessions": port.waiting,
            },
            "queue",
        )
        for name, value in server.store.durable.stats.items():
            if not name.startswith("blocks_"):
                yield counter(f"ghostwire_zqlite_{name}", "A counter of the store.", value)
        yield from blocks(server.store.volatile.store.shelf.stats())
