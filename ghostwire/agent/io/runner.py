"""One running agent: performs what the machine wants and tells it what happened."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from ghostwire.agent.effects import Dial, Effect, Forget, HangUp, Keep, KeepMap, Measure, Quit, Say, Transmit, Tune
from ghostwire.agent.io import clock, interfaces
from ghostwire.agent.io.connection import Connection, connect, is_loopback
from ghostwire.agent.io.journal import Journal, logger
from ghostwire.agent.io.sample import Sampler
from ghostwire.agent.io.store import LocalStore
from ghostwire.agent.io.tunnel import TunnelDriver
from ghostwire.agent.machine import Machine
from ghostwire.agent.status import peers
from ghostwire.agent.traffic import Ledger
from ghostwire.errors import AuthenticationError, GhostwireError

LOOK_S: Final = 5.0
"""How often the interfaces are looked at."""
COUNT_S: Final = 300.0
"""How often traffic is written down."""


class Runner:
    """Performs effects one by one, in order; whatever happens meanwhile waits in the machine."""

    def __init__(
        self, machine: Machine, tunnel: TunnelDriver, store: LocalStore, ledger: Ledger, journal: Journal
    ) -> None:
        self.machine = machine
        self.tunnel = tunnel
        self.journal = journal
        self.on_ready: Callable[[], None] = lambda: None
        self._store = store
        self._ledger = ledger
        self._sampler = Sampler(clock.now().mono)
        self._connection: Connection | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stirred = asyncio.Event()
        self._forgotten = False
        self._fault: BaseException | None = None

    async def run(self) -> Quit:
        """Run until there is nothing more to do; tunnel and store are closed on return."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        watchers = [asyncio.create_task(self._watch_interfaces()), asyncio.create_task(self._count_traffic())]
        for task in watchers:
            task.add_done_callback(self._on_watcher_ended)
        try:
            self.machine.begin(clock.now())
            return await self._perform_all()
        finally:
            for task in [*watchers, *([self._dialling] if self._dialling else [])]:
                task.cancel()
            if self._timer is not None:
                self._timer.cancel()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            await self._close()

    def stop(self) -> None:
        """Leave for now."""
        if self.machine.phase != "over":
            self._report()
            self.machine.stop(clock.now())
            self.stir()

    def logout(self) -> None:
        """Leave for good. Raises `UnavailableError` unless a session stands."""
        self.machine.logout(clock.now())
        self.stir()

    def stir(self) -> None:
        """The machine was told something: see what it wants."""
        self._stirred.set()

    async def settle(self) -> None:
        """Return once the tunnel knows everything that the map says."""
        while self.machine.phase != "over" and self.machine.hurry(clock.now()):
            self.stir()
            await asyncio.sleep(0)

    def endpoints(self) -> tuple[str, ...]:
        """Where the tunnel may be reached now. Loopback counts where the coordinator is on this very machine."""
        loopback = is_loopback(self.machine.memory.origin)
        return interfaces.endpoints(self.tunnel.port, self.tunnel.device, self.tunnel.own_addresses, loopback)

    def follow_log(self) -> AsyncIterator[Any]:
        """Lines of the log as they come."""
        return self.journal.follow()

    # What a connection tells.

    def on_frame(self, connection: Connection, frame: bytes) -> None:
        """A frame came."""
        if connection is self._connection:
            self.machine.received(frame, clock.now())
            self.stir()

    def on_closed(self, connection: Connection, reason: str) -> None:
        """The connection is gone."""
        if connection is self._connection:
            self._connection = None
            self.machine.lost(reason, clock.now())
            self.stir()

    # Effects.

    async def _perform_all(self) -> Quit:
        while True:
            self._stirred.clear()
            while (effect := self.machine.poll_effect()) is not None:
                if isinstance(effect, Quit):
                    return effect
                await self._perform(effect)
            if self._fault is not None:
                raise self._fault
            self._set_timer()
            await self._stirred.wait()

    async def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Say):
            logger().log(_LEVELS[effect.level], "%s", effect.text)
        elif isinstance(effect, Transmit):
            if self._connection is not None:
                self._connection.send(effect.frame)
        elif isinstance(effect, Tune):
            self._tune(effect)
        elif isinstance(effect, Keep):
            await self._keep(effect)
        elif isinstance(effect, KeepMap):
            self._store.keep_map(effect.kept)
        elif isinstance(effect, Dial):
            self._dialling = asyncio.create_task(self._dial(effect))
        elif isinstance(effect, HangUp):
            self._hang_up()
        elif isinstance(effect, Measure):
            self._measure()
        elif isinstance(effect, Forget):
            self._forgotten = True

    async def _keep(self, keep: Keep) -> None:
        self._store.keep(keep.memory)
        if not keep.now:
            return
        try:
            await self._store.flush()
        except GhostwireError as error:
            # What comes next would rest on it: give the session up instead, and try again in a while.
            self._hang_up()
            self.machine.lost(f"what must be kept could not be: {error.message}", clock.now())

    def _tune(self, effect: Tune) -> None:
        try:
            self.tunnel.apply(effect.steps, self.machine.utc(clock.now()))
        except GhostwireError as error:
            logger().error("the tunnel could not be changed: %s", error.message)
        if self.tunnel.own_addresses and self.machine.netmap.parts:
            self.on_ready()

    async def _dial(self, dial: Dial) -> None:
        try:
            connection = await connect(dial.origin, dial.pin, self)
        except AuthenticationError as error:
            self.machine.refused(error.code, error.message, clock.now())
        except GhostwireError as error:
            self.machine.lost(error.message, clock.now(), error.retry_after)
        else:
            self._connection = connection
            self.machine.opened(connection.spki, clock.now())
            connection.start()
        self.stir()

    def _hang_up(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _measure(self) -> None:
        now = clock.now()
        received, sent = self.tunnel.totals()
        sample = self._sampler.sample(now.mono, received, sent, self.machine.latency_s)
        self.machine.measured(sample, self.tunnel.take_hits(), self.tunnel.take_flows(), now)

    def _report(self) -> None:
        """Let what was counted since the last report go along with leaving; a tunnel that is gone keeps nobody."""
        try:
            self._measure()
        except GhostwireError as error:
            logger().warning("what was counted last could not be asked for: %s", error.message)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self.machine.poll_timeout()
        if due is not None:
            delay = max(due - clock.now().mono, 0.0)
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self.machine.handle_timeout(clock.now())
        self.stir()

    # What is looked at now and then.

    def _on_watcher_ended(self, task: asyncio.Task[None]) -> None:
        """Watchers run until they are cancelled: one that ends by itself is a fault, and ends the agent with it."""
        if not task.cancelled():
            self._fault = task.exception()
            self.stir()

    async def _watch_interfaces(self) -> None:
        while True:
            self.machine.set_endpoints(self.endpoints())
            self.stir()
            await asyncio.sleep(LOOK_S)

    async def _count_traffic(self) -> None:
        while True:
            await asyncio.sleep(COUNT_S)
            self._keep_traffic()

    def _keep_traffic(self) -> None:
        names = {peer.id: peer.name for peer in peers(self.machine.netmap)}
        moved = []
        for node, known in self.tunnel.counters().items():
            if node in names:
                fresh = self._ledger.count(node, names[node], known.rx_bytes, known.tx_bytes)
                if fresh is not None:
                    moved.append(fresh)
        self._store.keep_traffic(moved)

    async def _close(self) -> None:
        self._hang_up()
        if self._forgotten:
            self.tunnel.close()
            await self._store.forget()
            return
        self._keep_traffic()
        self.tunnel.close()
        await self._store.close()


_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
