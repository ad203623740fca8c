"""Leaving for good without a running agent: a session of its own, or keys forgotten here alone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from ghostwire.agent.effects import Dial, Forget, HangUp, Keep, Quit, Transmit
from ghostwire.agent.io import clock
from ghostwire.agent.io.connection import Connection, connect
from ghostwire.agent.io.folder import Folder
from ghostwire.agent.io.store import FILE, KEY_FILE, LocalStore
from ghostwire.agent.join import Join
from ghostwire.agent.machine import Machine
from ghostwire.agent.memory import Memory
from ghostwire.errors import NotFoundError, UnavailableError
from ghostwire.model.node import NodeFacts
from ghostwire.wire.netmap import NetMap

PATIENCE_S: Final = 20.0


def leave(folder: Path) -> None:
    """Have the coordinator remove this folder's node, then forget its keys.

    Raises `NotFoundError` where there is no node, `UnavailableError` where the coordinator does not answer, and what
    it refuses with.
    """
    if not (folder / FILE).exists():
        raise NotFoundError(f"{folder} holds no node: there is nothing to leave")
    held = Folder.take(folder)
    try:
        asyncio.run(_leave(folder))
    finally:
        held.release()


def forget(folder: Path) -> None:
    """Remove the keys and the map from the disk. The coordinator knows nothing of it."""
    held = Folder.take(folder)
    try:
        for name in (KEY_FILE, FILE, f"{FILE}-wal", f"{FILE}-shm"):
            (folder / name).unlink(missing_ok=True)
    finally:
        held.release()


async def _leave(folder: Path) -> None:
    store = await LocalStore.open(folder)
    try:
        memory = await store.memory()
        if memory is not None and memory.node:
            async with asyncio.timeout(PATIENCE_S):
                await _Farewell(memory, store).say()
    except TimeoutError as error:
        await store.close()
        raise UnavailableError("the coordinator did not answer in time") from error
    except BaseException:
        await store.close()
        raise
    await store.forget()


class _Farewell:
    """One session that asks to be removed and hears that it was."""

    def __init__(self, memory: Memory, store: LocalStore) -> None:
        self._machine = Machine(memory, NetMap(), Join(facts=NodeFacts()), os.urandom, clock.now())
        self._store = store
        self._stirred = asyncio.Event()
        self._connection: Connection | None = None

    def on_frame(self, connection: Connection, frame: bytes) -> None:
        """A frame came."""
        self._machine.received(frame, clock.now())
        self._stirred.set()

    def on_closed(self, connection: Connection, reason: str) -> None:
        """The connection is gone."""
        self._machine.lost(reason, clock.now())
        self._stirred.set()

    async def say(self) -> None:
        """Raises what the coordinator refuses with."""
        machine = self._machine
        machine.begin(clock.now())
        while True:
            if machine.phase == "live":
                machine.logout(clock.now())
            if machine.phase == "waiting":
                raise UnavailableError(f"{machine.memory.origin} does not answer: try again later, or use --force")
            while (effect := machine.poll_effect()) is not None:
                if isinstance(effect, Dial):
                    self._connection = await connect(effect.origin, effect.pin, self)
                    machine.opened(self._connection.spki, clock.now())
                    self._connection.start()
                elif isinstance(effect, Transmit) and self._connection is not None:
                    self._connection.send(effect.frame)
                elif isinstance(effect, HangUp) and self._connection is not None:
                    self._connection.close()
                elif isinstance(effect, Keep):
                    self._store.keep(effect.memory)
                elif isinstance(effect, Forget):
                    return
                elif isinstance(effect, Quit):
                    raise effect.error()
            await self._stirred.wait()
            self._stirred.clear()
