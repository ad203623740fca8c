"""What the simulation tells its client processes, and what they answer: one line of JSON each way.

Moments are monotonic seconds, which all processes of one machine share.
"""

from __future__ import annotations

import msgspec

from ghostwire.testing.load.door import Door


class _Order(msgspec.Struct, frozen=True, kw_only=True, tag_field="order"):
    pass


class Population(_Order, frozen=True, tag="population"):
    """Be these nodes. `numbers` in joining order; `keys` are pre-auth keys by tag, `tags` the tag of each node.

    Connections come from `source`, a loopback address, and the next ones: 5,000 nodes each.
    """

    door: Door
    source: str
    numbers: tuple[int, ...]
    tags: tuple[str, ...]
    keys: dict[str, str]

    def __repr__(self) -> str:
        return f"<Population of {len(self.numbers)}>"


class Join(_Order, frozen=True, tag="join"):
    """Join: node number N is due at `at` + N / `rate`."""

    at: float
    rate: float


class Churn(_Order, frozen=True, tag="churn"):
    """Change endpoints, `rate` a second in all from `at` on, `seconds` long.

    This process makes the changes number `first`, `first` + `step`..., each of another of its nodes, in no order.
    """

    at: float
    rate: float
    seconds: float
    first: int
    step: int


class Announce(_Order, frozen=True, tag="announce"):
    """Change the endpoints of one node, at once."""

    node: int


class Beat(_Order, frozen=True, tag="beat"):
    """Let each node give a sign of life within so many seconds, so that the server compares every digest."""

    within_s: float


class Leave(_Order, frozen=True, tag="leave"):
    """Let every node close its connection and stay away."""


class Return(_Order, frozen=True, tag="return"):
    """Let every node come back, `rate` a second in all from `at` on."""

    at: float
    rate: float


class Count(_Order, frozen=True, tag="count"):
    """Answer with what was counted since the last time, and begin anew."""


Order = Population | Join | Churn | Announce | Beat | Leave | Return | Count


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="progress"):
    """Told again and again: how many nodes have joined at least once, and how many sessions stand."""

    joined: int
    sessions: int
    deliveries: int


class Tally(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="tally"):
    """What one process saw since the last count.

    `joins` and `changes` are encoded `Latencies` from the scheduled moment. `told` are the nodes that got any
    change of their map, `most` the messages of the node that got the most, `last_session` and `last_delivery` when the
    last one came. `resumed` counts sessions that stood again by how their map came. `replaced` are maps in whose place
    whole ones came that differ.
    """

    joined: int
    sessions: int
    lost: int
    deliveries: int
    most: int
    told: tuple[int, ...]
    last_session: float
    last_delivery: float
    joins: str
    changes: str
    resumed: dict[str, int]
    refusals: dict[str, int]
    faults: tuple[str, ...]
    replaced: tuple[str, ...]


Said = Progress | Tally
