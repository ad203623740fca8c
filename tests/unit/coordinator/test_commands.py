"""Commands travel through logs and error texts: what they carry in confidence does not show."""

from ghostwire.coordinator.commands import OpenSession, RegisterNode
from ghostwire.coordinator.effects import KeyCreated, KeyRotated, SessionOpened, TokenCreated
from ghostwire.model.credential import Setting
from ghostwire.model.node import NodeFacts


def test_no_secret_shows():
    key = bytes(range(32))
    shown = [
        RegisterNode(op=1, actor="x", node_key=key, machine_key=key, facts=NodeFacts(), preauth_key="hush"),
        OpenSession(op=1, actor="x", node_key=key, token="hush"),
        KeyCreated(id=1, secret="hush", expires_at=0),
        TokenCreated(id=1, secret="hush", expires_at=0),
        KeyRotated(node=1, token="hush"),
        SessionOpened(node=1, slot=0, session=1, frames=(b"hush",)),
        Setting(name="mac_key", value=b"hush"),
    ]
    for carrier in shown:
        assert "hush" not in repr(carrier)
        assert "hush" not in f"{carrier}"
