"""What a simulation found, as the one line of JSON that `ghostwire simulate --json` prints.

A scenario that was not played is null. Times in the units of their names; percentiles count from scheduled moments.
"""

from __future__ import annotations

import msgspec


class _Part(msgspec.Struct, frozen=True):
    pass


class Join(_Part, frozen=True, kw_only=True):
    """Nodes that registered, took their session and first map. `cpu_ms` is the server's, each, and who took it."""

    seconds: float
    rate: float
    p50_ms: float | None
    p99_ms: float | None
    cpu_ms: float
    leader_cpu_ms: float
    workers_cpu_ms: float
    failed: int


class Steady(_Part, frozen=True, kw_only=True):
    """Sessions over so many seconds of heartbeats and endpoint changes."""

    seconds: float
    sessions_min: int
    sessions_lost: int


class Change(_Part, frozen=True, kw_only=True):
    """One change of the node that most nodes see. `leader_ms` is the CPU that deciding and encoding it took."""

    viewers: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    leader_ms: float


class Churn(_Part, frozen=True, kw_only=True):
    """`rate` endpoint changes a second. Staleness is from a change's schedule until a viewer has it.

    `messages_per_node_window_max` is the messages of the node that got the most over the windows that began, whose
    mean length is `window_ms`.
    """

    rate: float
    deliveries_per_s: float
    staleness_p50_ms: float | None
    staleness_p99_ms: float | None
    messages_per_node_window_max: float | None
    window_ms: float | None
    cpu_us_per_delivery: float
    leader_cpu_us_per_delivery: float
    workers_cpu_us_per_delivery: float


class Queries(_Part, frozen=True, kw_only=True):
    """Peer queries while everyone is connected, and the same asked of a bare uvloop server in turns."""

    rate: float
    p50_ms: float | None
    p99_ms: float | None
    raw_uvloop_p99_ms: float | None


class PolicyEdit(_Part, frozen=True, kw_only=True):
    """A policy edit, from its request until the last node that it concerns has it. `wrongly` are all others told."""

    classes_touched: int
    nodes_told: int
    nodes_told_wrongly: int
    ms: float


class Storm(_Part, frozen=True, kw_only=True):
    """The server killed and started again, until every node is back. `seconds` count from the kill."""

    seconds: float
    resumed_unchanged: int
    resumed_delta: int
    resumed_full: int
    lost: int
    query_p99_ms: float | None


class Hostile(_Part, frozen=True, kw_only=True):
    """Clients that meant harm: how often each played its part, and what the others had of it.

    `calm_p99_ms` is of the same queries before, `raw_uvloop_p99_ms` of a bare server that nobody harms, meanwhile: what
    those who mean harm take of the machine.
    """

    connections: int
    tries: dict[str, int]
    query_p99_ms: float | None
    calm_p99_ms: float | None
    raw_uvloop_p99_ms: float | None
    sessions_lost: int


class Memory(_Part, frozen=True, kw_only=True):
    """What the server's processes hold, by the growth of their resident memory.

    A node is counted in the leader, a session in the workers or in the one process that is both.
    """

    worker_bytes_per_session: float
    leader_bytes_per_node: float
    total_mib: float


class Report(_Part, frozen=True, kw_only=True):
    """Everything."""

    nodes: int
    workers: int
    tls: bool = False
    join: Join
    steady: Steady | None = None
    change: Change | None = None
    churn: Churn | None = None
    query: Queries | None = None
    hostile: Hostile | None = None
    policy: PolicyEdit | None = None
    storm: Storm | None = None
    memory: Memory
    digest_mismatches: int


class Sample(_Part, frozen=True, kw_only=True):
    """One moment of a run: seconds since it began, and what stood or was used by then.

    CPU seconds are the leader's, its workers' and the clients'; memory is the leader's and the workers'.
    """

    at: float
    sessions: int
    deliveries: int
    cpu_s: tuple[float, float, float]
    mib: tuple[float, float]


class Curve(_Part, frozen=True, kw_only=True):
    """A distribution for a plot: milliseconds by percentile."""

    name: str
    points: tuple[tuple[float, float], ...]


class Clients(_Part, frozen=True, kw_only=True):
    """What the simulated nodes took of the machine that they share with the server. None where nothing was measured."""

    processes: int
    cpu_ms_per_join: float
    cpu_us_per_delivery: float | None
    total_mib: float


class Trace(_Part, frozen=True, kw_only=True):
    """What was seen over the whole run: samples, when each scenario began, what the server did against the rules."""

    samples: tuple[Sample, ...]
    scenes: tuple[tuple[float, str], ...]
    curves: tuple[Curve, ...]
    clients: Clients
    faults: tuple[str, ...]
