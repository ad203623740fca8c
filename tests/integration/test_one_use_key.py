"""A one-use key in several hands at once: real connections, each in a thread of its own, to a real server process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ghostwire.wire.client_session import Credentials
from ghostwire.wire.messages import Refusal, Welcome
from tests.integration.agents import PATIENCE_S, Coordinator
from tests.integration.node_client import NodeClient, credentials

pytestmark = pytest.mark.integration

HANDS = 4
ROUNDS = 5


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    made = Coordinator(tmp_path_factory.mktemp("keys"))
    yield made
    made.child.stop()


async def register(url: str, who: Credentials, together: threading.Barrier) -> Welcome | Refusal:
    """Take the challenge, wait for the others, then send the answer."""
    async with NodeClient(url, who) as node:
        node.session.receive(await asyncio.wait_for(node.socket.recv(), PATIENCE_S))
        together.wait(PATIENCE_S)
        await node.flush()
        while True:
            event = await node.step()
            if isinstance(event, Welcome | Refusal):
                return event


def all_at_once(url: str, hands: list[Credentials]) -> list[Welcome | Refusal]:
    together = threading.Barrier(len(hands))
    with ThreadPoolExecutor(len(hands)) as pool:
        return list(pool.map(lambda who: asyncio.run(register(url, who, together)), hands))


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_exactly_one_of_several_machines_wins(coordinator: Coordinator, turn: int) -> None:
    before = coordinator.node_names()
    key, _ = coordinator.key()
    answers = all_at_once(coordinator.url, [credentials(f"m{turn}-{hand}", key) for hand in range(HANDS)])
    refused = [answer for answer in answers if isinstance(answer, Refusal)]
    assert len(refused) == HANDS - 1
    assert {answer.code for answer in refused} == {"authentication"}
    assert all("used up" in answer.message for answer in refused)
    assert len(coordinator.node_names()) == len(before) + 1
    assert coordinator.admin_get("/v1/preauth-keys")["keys"][-1]["uses_left"] == 0


def test_one_machine_that_asks_several_times_at_once_counts_once(coordinator: Coordinator) -> None:
    before = coordinator.node_names()
    key, _ = coordinator.key()
    answers = all_at_once(coordinator.url, [credentials("again", key)] * HANDS)
    assert len({answer.node for answer in answers if isinstance(answer, Welcome)}) == 1
    assert not [answer for answer in answers if isinstance(answer, Refusal)]
    assert len(coordinator.node_names()) == len(before) + 1
