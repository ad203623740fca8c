"""One client process: `python -m ghostwire.testing.load.process`, orders on standard input, answers on standard output.

It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Any, Final

import msgspec
import uvloop

from ghostwire.server.process import raise_file_limit
from ghostwire.testing.load import orders
from ghostwire.testing.load.counting import Counting
from ghostwire.testing.load.door import Door
from ghostwire.testing.load.link import upgrade_request
from ghostwire.testing.load.node import SimNode

PROGRESS_S: Final = 0.25
NODES_AN_ADDRESS: Final = 5_000
"""Each loopback address has room for 28,000 connections to one port."""
LONGEST_ORDER: Final = 64 * 1024 * 1024
_decoder = msgspec.json.Decoder(orders.Order)


class Process:
    """The nodes of one process, in joining order."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.counting = Counting()
        self.request = b""
        self.door = Door("", 0)
        self._nodes: list[SimNode] = []
        self._roaming: Iterator[SimNode] = iter(())
        self.loop.set_exception_handler(self._failed)

    async def run(self) -> None:
        """Carry out orders until there are no more."""
        reader = asyncio.StreamReader(LONGEST_ORDER)
        await self.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        telling = self.loop.create_task(self._tell())
        while line := await reader.readline():
            self._obey(_decoder.decode(line))
        telling.cancel()

    def _obey(self, order: orders.Order) -> None:
        if isinstance(order, orders.Population):
            self._settle(order)
        elif isinstance(order, orders.Join):
            for node in self._nodes:
                due = order.at + node.number / order.rate
                self._at(due, node.join)
        elif isinstance(order, orders.Leave):
            for node in self._nodes:
                node.leave()
        elif isinstance(order, orders.Return):
            for node in self._nodes:
                self._at(order.at + node.number / order.rate, node.come_back)
        elif isinstance(order, orders.Churn):
            for number in range(order.first, int(order.seconds * order.rate), order.step):
                self._at(order.at + number / order.rate, self._announce_next)
        elif isinstance(order, orders.Announce):
            for node in self._nodes:
                if node.number == order.node:
                    node.announce(time.monotonic())
        elif isinstance(order, orders.Beat):
            for place, node in enumerate(self._nodes):
                self.loop.call_later(order.within_s * place / len(self._nodes), node.beat)
        else:
            say(self._count())

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Something was raised that nobody awaits: what it says is a fault of the run, its traceback is on stderr."""
        if self.counting.fault(f"a client process: {context['message']}: {context.get('exception')!r}"):
            loop.default_exception_handler(context)

    def _settle(self, order: orders.Population) -> None:
        self.door = order.door
        self.request = upgrade_request(order.door.authority)
        first = IPv4Address(order.source)
        for place, (number, tag) in enumerate(zip(order.numbers, order.tags, strict=True)):
            source = str(first + place // NODES_AN_ADDRESS)
            self._nodes.append(SimNode(self, number, source, order.keys[tag]))
        # Neighbours must not roam one after the other: they would share their messages.
        self._roaming = itertools.cycle(random.Random(order.source).sample(self._nodes, len(self._nodes)))  # noqa: S311
        # What was made here stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        say(self._count())

    def _at(self, due: float, act: Callable[[float], None]) -> None:
        """The loop's clock is the machine's monotonic one, but it stands still during a turn."""
        self.loop.call_later(max(0.0, due - time.monotonic()), act, due)

    def _announce_next(self, due: float) -> None:
        next(self._roaming).announce(due)

    def _count(self) -> orders.Tally:
        told = {node.number: times for node in self._nodes if (times := node.told())}
        return self.counting.take(time.monotonic(), told)

    async def _tell(self) -> None:
        while True:
            counting = self.counting
            say(
                orders.Progress(
                    joined=counting.joined, sessions=counting.sessions, deliveries=counting.broadcasts.count
                )
            )
            await asyncio.sleep(PROGRESS_S)


def say(what: orders.Said) -> None:
    """Write one line to whoever gives the orders."""
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


async def _main() -> None:
    await Process().run()


def main() -> None:
    """Run one process."""
    raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())


if __name__ == "__main__":
    main()
