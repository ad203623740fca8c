"""The agent's local store on a real disk."""

from pathlib import Path

import msgspec
import pytest

from ghostwire.agent.io.store import LocalStore
from ghostwire.agent.memory import KeptMap, Memory
from ghostwire.agent.traffic import Traffic
from ghostwire.agent.wishes import Wishes
from ghostwire.errors import GhostwireError
from tests.unit.agent.meeting import ORIGIN, Meeting, node_key, peer

MEMORY = Memory(
    origin=ORIGIN,
    pin=b"p" * 32,
    node_private=node_key(1),
    machine_private=node_key(2),
    node=7,
    name="one",
    token="token-text",
    contact=5,
    highest=6,
)


def list_folder(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def joined(*numbers: int) -> Meeting:
    meeting = Meeting()
    meeting.begin()
    meeting.join(*(peer(number) for number in numbers))
    return meeting


async def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    store = await LocalStore.open(tmp_path)
    assert await store.memory() is None
    assert (await store.netmap()).position is None
    assert await store.wishes() is None
    await store.close()


async def test_everything_comes_back(tmp_path: Path) -> None:
    store = await LocalStore.open(tmp_path)
    meeting = joined(2, 3)
    store.keep(MEMORY)
    store.keep_map(KeptMap.of(meeting.machine.netmap))
    wishes = Wishes(hostname="one", forwards=("127.0.0.1:80=two:80",), socks5="127.0.0.1:1080")
    store.keep_wishes(wishes)
    store.keep_traffic([Traffic(2, "node2", 10, 20)])
    await store.close()
    again = await LocalStore.open(tmp_path)
    assert await again.memory() == MEMORY
    netmap = await again.netmap()
    assert netmap.digest == meeting.machine.netmap.digest
    assert netmap.position == meeting.position()
    assert await again.wishes() == wishes
    assert await again.traffic() == {2: Traffic(2, "node2", 10, 20)}
    await again.close()


async def test_a_small_change_of_the_map_is_a_small_write(tmp_path: Path) -> None:
    meeting = joined(*range(2, 60))
    store = await LocalStore.open(tmp_path)
    store.keep_map(KeptMap.of(meeting.machine.netmap))
    await store.flush()
    meeting.delta(peer(70), gone=(5,))
    store.keep_map(KeptMap.of(meeting.machine.netmap))
    await store.flush()
    body = (await store._db.query_one("SELECT body FROM change ORDER BY seq DESC LIMIT 1"))[0]
    assert len(body) < 2000
    await store.close()
    again = await LocalStore.open(tmp_path)
    netmap = await again.netmap()
    assert netmap.digest == meeting.machine.netmap.digest
    assert 5 not in netmap.peers
    assert 70 in netmap.peers
    await again.close()


async def test_a_write_that_failed_is_made_up_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = await LocalStore.open(tmp_path)
    meeting = joined(2, 3)
    store.keep_wishes(Wishes(hostname="one"))
    store.keep(MEMORY)
    store.keep_map(KeptMap.of(meeting.machine.netmap))
    await store.flush()
    await store._db.execute("ALTER TABLE peer RENAME TO elsewhere")
    meeting.delta(*(peer(number) for number in range(10, 200)), gone=(2,))
    store.keep_map(KeptMap.of(meeting.machine.netmap))
    with pytest.raises(GhostwireError):
        await store.flush()
    assert "could not be kept" in caplog.text
    await store._db.execute("ALTER TABLE elsewhere RENAME TO peer")
    meeting.delta(gone=(10,))
    store.keep(MEMORY)
    store.keep_map(KeptMap.of(meeting.machine.netmap))
    await store.close()
    again = await LocalStore.open(tmp_path)
    assert (await again.netmap()).digest == meeting.machine.netmap.digest
    assert await again.memory() == MEMORY
    assert await again.wishes() == Wishes(hostname="one")
    await again.close()


async def test_its_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    store = await LocalStore.open(tmp_path, compact_after=10)
    meeting = joined(2)
    store.keep_map(KeptMap.of(meeting.machine.netmap))
    for moment in range(100):
        store.keep(msgspec.structs.replace(MEMORY, contact=moment))
        await store.flush()
    await store.close()
    again = await LocalStore.open(tmp_path)
    rows = (await again._db.query_one("SELECT count(*) FROM change"))[0]
    assert rows < 40
    assert await again.memory() == msgspec.structs.replace(MEMORY, contact=99)
    assert (await again.netmap()).digest == meeting.machine.netmap.digest
    await again.close()


async def test_nothing_secret_lies_on_the_disk_in_the_clear(tmp_path: Path) -> None:
    store = await LocalStore.open(tmp_path)
    store.keep(MEMORY)
    await store.close()
    for file in list_folder(tmp_path):
        data = file.read_bytes()
        for secret in (MEMORY.node_private, MEMORY.machine_private, b"token-text"):
            assert secret not in data
        assert file.stat().st_mode & 0o077 == 0
    assert "token-text" not in repr(MEMORY)


async def test_another_key_opens_nothing(tmp_path: Path) -> None:
    store = await LocalStore.open(tmp_path)
    store.keep(MEMORY)
    await store.close()
    (tmp_path / "store.key").write_text("00" * 32)
    with pytest.raises(GhostwireError, match="key"):
        await LocalStore.open(tmp_path)


async def test_forgetting_leaves_no_file(tmp_path: Path) -> None:
    store = await LocalStore.open(tmp_path)
    store.keep(MEMORY)
    store.keep(msgspec.structs.replace(MEMORY, contact=9))
    await store.flush()
    await store.forget()
    assert not list_folder(tmp_path)
