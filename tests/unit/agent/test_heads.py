"""What a node holds of its coordinator's log."""

from __future__ import annotations

import pytest

from ghostwire.agent.heads import SIGNERS, held, hold
from ghostwire.errors import AuthenticationError, ValidationError
from ghostwire.wire.messages import HeldHead, LogHead
from ghostwire.zqlite import Head, SignedHead, SigningKey, heads
from tests.unit.agent.meeting import Meeting


def told(seq: int, epoch: int = 1, signer: int = 1) -> LogHead:
    key = SigningKey(bytes([signer]) * 64)
    signed = heads.sign(bytes(16), epoch, Head(seq, 5, bytes(32)), key)
    return LogHead(signed=signed.to_bytes(), key=key.public.data)


def seqs(kept: bytes) -> list[tuple[int, int]]:
    return [(signed.epoch, signed.head.seq) for signed in map(SignedHead.from_bytes, held(kept))]


def test_the_newest_of_each_signer_is_held() -> None:
    kept = b""
    for seq, epoch in ((5, 1), (7, 1), (6, 1), (2, 2), (9, 1)):
        kept = hold(kept, told(seq, epoch))
    assert seqs(kept) == [(2, 2)]
    for signer in range(2, SIGNERS + 2):
        kept = hold(kept, told(signer, 1, signer))
    assert seqs(kept) == [(1, signer) for signer in range(2, SIGNERS + 2)]


def test_what_is_not_genuine_is_not_held() -> None:
    good = told(5)
    for bad in (
        LogHead(signed=told(6, signer=2).signed, key=good.key),
        LogHead(signed=good.signed[:-1] + bytes([good.signed[-1] ^ 1]), key=good.key),
    ):
        with pytest.raises(AuthenticationError):
            hold(b"", bad)
    for bad in (LogHead(signed=b"\x00", key=good.key), LogHead(signed=good.signed, key=b"short")):
        with pytest.raises(ValidationError):
            hold(b"", bad)


def test_an_agent_returns_what_it_holds_in_its_next_session() -> None:
    meeting = Meeting()
    meeting.begin()
    meeting.join()
    genuine = told(7)
    meeting.say(genuine)
    meeting.say(LogHead(signed=told(9, signer=2).signed, key=told(9).key))
    meeting.machine.stop(meeting.now)
    meeting.settle()
    again = Meeting(memory=meeting.memory, netmap=meeting.machine.netmap, key=None)
    again.begin()
    again.join()
    assert [heard for heard in again.heard if isinstance(heard, HeldHead)] == [HeldHead(signed=genuine.signed)]
