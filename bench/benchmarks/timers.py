"""The timer wheel as the heartbeat monitor uses it: ticks of a second, heartbeats every 30 s, silence after 60 s."""

from ghostwire._native import timers

NODES = 50_000
EVERY = 30
SILENCE = 60


class Heartbeats:
    """50,000 nodes, a thirtieth of them heard in each tick; one tick in 60 moves a whole slot down."""

    gate_calls = 64

    def setup(self) -> None:
        self.wheel = timers.TimerWheel()
        self.groups = [range(first, NODES, EVERY) for first in range(EVERY)]
        for second, group in enumerate(self.groups):
            self.wheel.advance(second)
            for node in group:
                self.wheel.schedule(node, second + SILENCE)

    def time_tick(self) -> None:
        now = self.wheel.now + 1
        deadline = now + SILENCE
        for node in self.groups[now % EVERY]:
            self.wheel.schedule(node, deadline)
        self.wheel.advance(now)


class Timers:
    """One timer among 50,000."""

    gate_calls = 5000

    def setup(self) -> None:
        self.wheel = timers.TimerWheel()
        for node in range(NODES):
            self.wheel.schedule(node, 1 + node % 3600)

    def time_reschedule(self) -> None:
        self.wheel.schedule(77, 1800)

    def time_next_wake(self) -> None:
        self.wheel.next_wake()
