import pytest

from ghostwire.coordinator.effects import Persist
from ghostwire.errors import ConflictError, DatabaseError
from ghostwire.model.change import ChangeRecord, Delete, Put
from ghostwire.model.credential import PreauthKey
from ghostwire.model.node import Node
from ghostwire.model.time import Now
from ghostwire.server.metrics import Timings
from ghostwire.server.witness import BY_ITSELF, Witness
from tests.unit.server.heard import Heard

SINCE = Now(100.0, 5_000_000_000)
NODE = Node(id=7, slot=1, name="laptop", node_key=b"k" * 32, machine_key=b"m" * 32, ipv4="100.64.0.1", ipv6="fd7a::1")
ROW = ChangeRecord(seq=9, epoch=1, ts=0, actor="a", kind="k", body=b"", prev=b"", hash=b"")


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def witness(heard: Heard) -> Witness:
    # The wall clock was set back meanwhile: lengths must not notice.
    return Witness(heard, Timings(), lambda: Now(100.25, 1))


def persist(kind: str, *writes: Put | Delete) -> Persist:
    return Persist(persist=1, kind=kind, actor="admin:unix:0", writes=writes)


def test_a_registration_names_the_node(witness: Witness, heard: Heard) -> None:
    witness.committed(persist("node.register", Put("nodes", NODE)), SINCE, ROW)
    fields = {"seq": 9, "actor": "admin:unix:0", "node": 7, "name": "laptop"}
    assert heard.events == [("info", "node.register", fields)]
    assert heard.spans == [("commit", 5_000_000_000, 5_250_000_000, {"kind": "node.register", "seq": 9})]


def test_a_removal_names_the_id(witness: Witness, heard: Heard) -> None:
    witness.committed(persist("node.delete", Delete("nodes", 7, 1)), SINCE, ROW)
    ((level, name, fields),) = heard.events
    assert (level, name, fields["node"]) == ("info", "node.delete", 7)


@pytest.mark.parametrize("kind", sorted(BY_ITSELF))
def test_what_runs_by_itself_is_for_debugging(kind: str, witness: Witness, heard: Heard) -> None:
    witness.committed(persist(kind), SINCE, ROW)
    assert heard.events[0][0] == "debug"


def test_nothing_of_a_key_is_told(witness: Witness, heard: Heard) -> None:
    key = PreauthKey(id=3, mac=b"secret-mac")
    witness.committed(persist("preauth_key.create", Put("preauth_keys", key)), SINCE, ROW)
    assert heard.events == [("info", "preauth_key.create", {"seq": 9, "actor": "admin:unix:0"})]


def test_failures_are_errors_unless_a_row_had_moved(witness: Witness, heard: Heard) -> None:
    witness.failed(persist("user.create"), SINCE, ConflictError("moved"))
    witness.failed(persist("user.create"), SINCE, DatabaseError("the disk is full"))
    assert [level for level, _, _ in heard.events] == ["debug", "error"]
    assert heard.events[1][2]["error"] == "the disk is full"


def test_presence(witness: Witness, heard: Heard) -> None:
    witness.presence(NODE, "online")
    witness.presence(NODE, "grace")
    witness.presence(NODE, "offline")
    assert [(level, name) for level, name, _ in heard.events] == [
        ("info", "node.online"), ("warning", "node.heartbeat_missed"), ("info", "node.offline"),
    ]  # fmt: skip
    assert all(fields == {"node": 7, "name": "laptop"} for _, _, fields in heard.events)


def test_maps_are_spans(witness: Witness, heard: Heard) -> None:
    witness.handled("OpenSession", SINCE, 0.001)
    assert heard.spans == []
    witness.netmap_built(10, 1)
    witness.handled("OpenSession", SINCE, 0.001)
    assert heard.spans == [("netmap.build", 5_000_000_000, 5_250_000_000, {"maps": 1})]


def test_requests_tell_the_kind_of_resource_only(witness: Witness, heard: Heard) -> None:
    witness.answered("DELETE", "/v1/nodes/somebody", 204, SINCE)
    assert heard.events == [("debug", "http", {"method": "DELETE", "resource": "/v1/nodes", "status": 204})]
    assert heard.spans[0][0] == "http"
