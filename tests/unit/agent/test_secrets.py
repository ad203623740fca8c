"""What could be printed by accident shows no secret."""

import msgspec
import pytest

from ghostwire.agent.effects import Keep, Transmit, Tune
from ghostwire.agent.join import Join
from ghostwire.agent.memory import Memory
from ghostwire.agent.plan import SetKey
from ghostwire.model.node import NodeFacts
from ghostwire.wire.client_session import Credentials
from ghostwire.wire.messages import HelloBody, Proof, Register, RegisterBody, Rotated, Welcome

SECRET = "0123456789abcdef-secret-9876543210"
RAW = b"raw-secret-of-exactly-32-bytes!!"
FACTS = NodeFacts(hostname="one")
MEMORY = Memory(origin="https://m", node_private=RAW, machine_private=RAW, next_private=RAW, token=SECRET, pin=RAW)
BODY = RegisterBody(node_key=b"k" * 32, machine_key=b"m" * 32, facts=FACTS, preauth_key=SECRET)


@pytest.mark.parametrize(
    "value",
    [
        MEMORY,
        Keep(MEMORY),
        Join(facts=FACTS, preauth_key=SECRET),
        Tune((SetKey(RAW),)),
        Transmit(SECRET.encode()),
        Credentials(node_private=RAW, machine_key=b"m" * 32, facts=FACTS, token=SECRET, preauth_key=SECRET),
        BODY,
        Register(body=msgspec.msgpack.encode(BODY), proof=Proof(mac=b"", nonce=b"", origin="")),
        HelloBody(node_key=b"k" * 32, token=SECRET),
        Welcome(token=SECRET, node=1, session=1, heartbeat_s=1.0, utc=1),
        Rotated(token=SECRET),
    ],
    ids=lambda value: type(value).__name__,
)
def test_its_repr_redacts(value: object) -> None:
    for shown in (repr(value), str(value), f"{value}", repr([value])):
        assert "secret" not in shown
        assert RAW.hex() not in shown
