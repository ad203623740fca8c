"""The loop around the coordinator: what is behind a command that failed has its turn all the same."""

import asyncio
import os
from typing import Any

import pytest

from ghostwire.coordinator import Coordinator, Settings
from ghostwire.coordinator.commands import Command, DeleteUser
from ghostwire.coordinator.effects import Flush, Persist
from ghostwire.errors import GhostwireError, NotFoundError
from ghostwire.server.clock import system_clock
from ghostwire.server.driver import Driver
from ghostwire.server.fanout import Fanout
from ghostwire.server.metrics import Timings
from ghostwire.server.observer import Silent
from ghostwire.server.witness import Witness
from ghostwire.testing.memory_store import MemoryStore


class Store:
    """Commits at once."""

    def __init__(self) -> None:
        self._kept = MemoryStore()
        self.snapshot = self._kept.snapshot(os.urandom(16))

    def submit(self, persist: Persist) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(self._kept.commit(persist, system_clock().utc))
        return done

    def flush(self, effect: Flush) -> None:
        self._kept.flush(effect)


@pytest.mark.parametrize("leads", [False, True])
async def test_a_command_that_fails_holds_up_none_behind_it(leads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, store = asyncio.get_running_loop(), Store()
    coordinator = Coordinator(Settings(), store.snapshot, os.urandom, system_clock())
    driver = Driver(coordinator, store, Fanout(loop), system_clock, Witness(Silent(), Timings(), system_clock))
    if leads:
        driver.lead(lambda _: None)
    answers: dict[str, GhostwireError | None] = {}
    handle = coordinator.handle
    failures: list[str] = []
    loop.set_exception_handler(lambda _, context: failures.append(str(context.get("exception"))))

    def submit(actor: str) -> None:
        driver.submit(
            lambda op: DeleteUser(op=op, actor=actor, user=7), lambda _, error: answers.update({actor: error})
        )

    def fails(command: Any, now: Any) -> None:
        if isinstance(command, Command) and command.actor == "faulty":
            if not leads:
                submit("behind")
            raise ArithmeticError("not foreseen")
        handle(command, now)

    monkeypatch.setattr(coordinator, "handle", fails)
    if leads:
        submit("faulty")
        submit("behind")
        await asyncio.sleep(0)
    else:
        with pytest.raises(ArithmeticError):
            submit("faulty")
    for _ in range(5):
        await asyncio.sleep(0)
    submit("later")
    for _ in range(5):
        await asyncio.sleep(0)
    assert {actor: type(error) for actor, error in answers.items()} == {"behind": NotFoundError, "later": NotFoundError}
    assert failures == (["not foreseen"] if leads else [])
    monkeypatch.undo()
    await driver.stop()
