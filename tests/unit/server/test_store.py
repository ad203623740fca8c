"""The coordinator's tables: every record as it went in, guards on versions, and a log that says the same."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghostwire.coordinator import state
from ghostwire.coordinator.effects import Flush, Persist
from ghostwire.coordinator.settings import Settings
from ghostwire.coordinator.snapshot import FlushMark, MapChange, NodeSeen
from ghostwire.errors import ConflictError, DatabaseError, InternalError
from ghostwire.model.access import AccessRequest
from ghostwire.model.change import Delete, Put, Write
from ghostwire.model.credential import (
    ApiToken,
    PreauthKey,
    RefusedKey,
    RestingAddress,
    SessionToken,
    Setting,
)
from ghostwire.model.node import Node, NodeMetrics
from ghostwire.model.policy import PolicyTrial, PolicyVersion
from ghostwire.model.user import Identity, User
from ghostwire.server.options import ServeOptions
from ghostwire.server.store import orders
from ghostwire.server.store.archiving import Archiving
from ghostwire.server.store.replay import replay
from ghostwire.server.store.store import ServerStore
from ghostwire.server.store.tables import TABLES
from ghostwire.server.store.volatile import VolatileStore

MAC, MAC2, MAC3 = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32


def node(**changes: Any) -> Node:
    base = Node(
        id=7,
        slot=3,
        name="laptop",
        node_key=MAC,
        machine_key=MAC2,
        ipv4="100.64.0.1",
        ipv6="fd7a::1",
        tags=("tag:a", 'tag:"quoted"'),
        ephemeral=True,
        metadata=b"\x00\xff",
    )
    return msgspec.structs.replace(base, **changes)


RECORDS: dict[str, Any] = {
    "users": User(id=1, name="alice", display_name="Älice", role="admin", created_at=5),
    "identities": Identity(issuer="https://id", subject="s", user_id=1),
    "nodes": node(),
    "preauth_keys": PreauthKey(id=2, mac=MAC, user_id=1, uses_left=None, ephemeral=True),
    "session_tokens": SessionToken(node_id=7, mac=MAC2, expires_at=2**62),
    "api_tokens": ApiToken(id=1, mac=MAC3, name="ci", scope="write", created_at=1, created_by="x", expires_at=9),
    "refused_keys": RefusedKey(node_key=MAC3, reason="deleted", at=4),
    "resting_addresses": RestingAddress(address="100.64.0.9", until=77),
    "policies": PolicyVersion(number=1, text="{}", author="admin", at=3, restores=0, forced=("a test",)),
    "policy_trials": PolicyTrial(number=1, restores=0, deadline=2**62, author="admin", bindings=b"\x00"),
    "access_requests": AccessRequest(
        id=1,
        user_id=1,
        source=None,
        target=7,
        ports=("tcp:22", "udp:1-9"),
        duration_s=60,
        reason="why",
        rule="prod",
        digest=MAC,
        created_at=5,
        asked_by="token:1",
        state="approved",
        approver=2,
        ends_at=2**62,
    ),
    "settings": Setting(name="x", value=b"\x01"),
}


@pytest.fixture
def options(tmp_path: Path) -> ServeOptions:
    return ServeOptions(data=tmp_path / "server", settings=Settings())


async def open_store(options: ServeOptions) -> ServerStore:
    return await ServerStore.open(options, lambda error: None)


def change(*writes: Write) -> Persist:
    return Persist(persist=1, kind="test", actor="admin", writes=writes)


def test_server_and_coordinator_know_the_same_tables() -> None:
    assert {name: table.kind for name, table in TABLES.items()} == {
        name: table.record for name, table in state.TABLES.items()
    }
    for name, record in RECORDS.items():
        assert TABLES[name].key(record) == state.TABLES[name].key(record)


async def test_every_record_comes_back_as_it_went_in(options: ServeOptions) -> None:
    store = await open_store(options)
    await store.submit(change(*(Put(table, record) for table, record in RECORDS.items())))
    await store.close()
    store = await open_store(options)
    snapshot = await store.load(os.urandom)
    for table, record in RECORDS.items():
        assert record in snapshot.tables[table]
    await store.close()


async def test_a_moved_version_refuses_the_whole_change(options: ServeOptions) -> None:
    store = await open_store(options)
    await store.submit(change(Put("nodes", node())))
    await store.submit(change(Put("nodes", node(name="a", version=2), expect=1)))
    with pytest.raises(ConflictError):
        await store.submit(change(Put("users", RECORDS["users"]), Put("nodes", node(name="b", version=2), expect=1)))
    with pytest.raises(ConflictError):
        await store.submit(change(Delete("nodes", 7, expect=1)))
    with pytest.raises(ConflictError):
        await store.submit(change(Put("nodes", node(id=8, slot=4, name="a", node_key=MAC3))))
    await store.submit(change(Delete("nodes", 7, expect=2), Put("identities", RECORDS["identities"])))
    await store.submit(change(Delete("identities", ("https://id", "s"), expect=1)))
    tables = (await store.load(os.urandom)).tables
    assert tables["nodes"] == tables["users"] == tables["identities"] == ()
    await store.close()


async def test_a_table_that_is_not_there_is_a_fault(options: ServeOptions) -> None:
    store = await open_store(options)
    with pytest.raises(InternalError):
        store.submit(change(Put("nothing", RECORDS["users"])))
    await store.close()


async def test_the_log_replayed_is_the_state(options: ServeOptions) -> None:
    store = await open_store(options)
    for table, record in RECORDS.items():
        await store.submit(change(Put(table, record)))
    await store.submit(change(Put("nodes", node(name="renamed", tags=(), user_id=1, version=2), expect=1)))
    await store.submit(change(Delete("users", 1, expect=1)))
    snapshot = await store.load(os.urandom)
    replayed = await replay(store.durable)
    loaded = state.State.load(snapshot.tables, snapshot.seq)
    assert replayed.tables == loaded.tables
    assert replayed.seq == loaded.seq == snapshot.seq
    await store.close()


async def test_the_older_log_goes_into_blocks_and_says_the_same(options: ServeOptions) -> None:
    store = await open_store(options)
    archiving = Archiving(store.durable, worthwhile=10)
    for table, record in RECORDS.items():
        await store.submit(change(Put(table, record)))
    first = store.durable.head.ts
    await store.submit(change(Delete("users", 1, expect=1)))
    assert await archiving.archive(first - 1_000_000_000) == 0, "it is not old enough"
    assert await archiving.archive(first) >= 10
    assert await archiving.archive(first) == 0
    snapshot = await store.load(os.urandom)
    assert (await replay(store.durable)).tables == state.State.load(snapshot.tables, snapshot.seq).tables
    counted = await orders.perform(store.durable, orders.Stats())
    assert counted["rows_of_log"] == store.durable.head.seq
    await store.close()


async def test_volatile_facts_come_back_and_the_newest_counts(options: ServeOptions) -> None:
    store = await open_store(options)
    first = NodeSeen(node_id=1, online=True, last_seen=5, endpoints=("192.0.2.1:5",))
    second = NodeSeen(node_id=1, last_seen=9, metrics=NodeMetrics(load_factor=0.5))
    other = NodeSeen(node_id=2, class_id=4)
    mark = FlushMark(boot=bytes(16), vseq=3, seq=8, utc=9, next_class=5, oldest=2)
    changes = [
        MapChange(number=at, boot=bytes(16), seq=at, vseq=0, touched=(1,), owners=(), affected=b"") for at in (1, 2, 3)
    ]
    store.flush(Flush(facts=(first, other, *changes, msgspec.structs.replace(mark, vseq=1, oldest=0))))
    store.flush(Flush(facts=(second, mark)))
    await store.close()
    store = await open_store(options)
    snapshot = await store.load(os.urandom)
    assert snapshot.volatile == (second, other)
    assert snapshot.mark == mark
    assert snapshot.changes == tuple(changes[1:])
    await store.close()


async def test_the_log_of_what_may_be_lost_does_not_grow_without_end(options: ServeOptions) -> None:
    store = await open_store(options)
    volatile = VolatileStore(store.volatile.store, keep=10)
    mark = FlushMark(boot=bytes(16), vseq=1, seq=1, utc=1)
    for at in range(100):
        volatile.flush(Flush(facts=(NodeSeen(node_id=at % 3, last_seen=at), mark)))
        await asyncio.sleep(0.002)
    await volatile.close()
    await store.durable.close()
    store = await open_store(options)
    rows = await store.volatile.store.query_one("SELECT count(*) FROM change")
    assert rows is not None
    assert rows[0] < 60
    assert [seen.last_seen for seen in (await store.load(os.urandom)).volatile] == [99, 97, 98]
    await store.close()


async def test_secrets_key_and_log_stay_the_boot_changes(options: ServeOptions) -> None:
    seen = []
    for _ in range(2):
        store = await open_store(options)
        seen.append(await store.load(os.urandom))
        await store.close()
    first, second = seen
    assert (first.mac_key, first.log_id) == (second.mac_key, second.log_id)
    assert first.boot != second.boot
    assert first.mac_key.hex() not in repr(first)


async def test_the_directory_is_the_owners_alone(options: ServeOptions) -> None:
    store = await open_store(options)
    await store.close()
    assert options.data.stat().st_mode & 0o777 == 0o700
    assert (options.data / "store.key").stat().st_mode & 0o777 == 0o600


async def test_a_second_server_on_the_same_directory_is_told(options: ServeOptions) -> None:
    store = await open_store(options)
    with pytest.raises(ConflictError):
        await open_store(options)
    await store.close()


async def test_a_wrong_key_is_told(options: ServeOptions) -> None:
    store = await open_store(options)
    await store.close()
    (options.data / "store.key").unlink()
    with pytest.raises(DatabaseError):
        await open_store(options)
