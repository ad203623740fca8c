"""Tokens, their table and BLAKE3 against their twin."""

import string
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ghostwire._native import token
from ghostwire.errors import AuthenticationError
from tests.reference import token as twin

RAW = st.binary(min_size=32, max_size=32)
ALPHABET = string.ascii_letters + string.digits + "-_"
NEARLY = st.text(ALPHABET, min_size=43, max_size=43) | st.text(ALPHABET + "+/= é", min_size=42, max_size=44) | st.text()


def outcome(call: Callable[[], object]) -> object:
    """The answer, or the text of the refusal."""
    try:
        return call()
    except AuthenticationError as error:
        return str(error)


@given(RAW)
def test_encoding_is_the_twins_and_comes_back(raw: bytes) -> None:
    assert token.encode(raw) == twin.encode(raw)
    assert token.decode(token.encode(raw)) == raw


@given(NEARLY)
def test_decoding_accepts_exactly_what_the_twin_accepts(text: str) -> None:
    assert outcome(lambda: token.decode(text)) == outcome(lambda: twin.decode(text))


@given(RAW, st.integers(0, 42), st.characters(max_codepoint=127))
def test_one_wrong_character_is_noticed(raw: bytes, at: int, wrong: str) -> None:
    text = token.encode(raw)
    text = text[:at] + wrong + text[at + 1 :]
    assert outcome(lambda: token.decode(text)) == outcome(lambda: twin.decode(text))


@given(RAW, st.binary(max_size=5000), st.text(max_size=60))
def test_hashes_are_blake3(key: bytes, data: bytes, context: str) -> None:
    assert token.blake3(data) == twin.blake3(data)
    assert token.keyed_blake3(key, data) == twin.keyed_blake3(key, data)
    assert token.derive_key(context, data) == twin.derive_key(context, data)


class TableMachine(RuleBasedStateMachine):
    """A few tokens come, go and expire; every answer is the twin's."""

    @initialize(key=RAW, tokens=st.lists(RAW, min_size=1, max_size=6, unique=True))
    def start(self, key: bytes, tokens: list[bytes]) -> None:
        self.fast, self.slow = token.TokenTable(key), twin.TokenTable(key)
        self.texts = [token.encode(raw) for raw in tokens]

    def text(self, draw: int) -> str:
        return self.texts[draw % len(self.texts)]

    @rule(draw=st.integers(0, 100), subject=st.integers(0, 2**64 - 1), expires=st.integers(-10, 100))
    def insert(self, draw: int, subject: int, expires: int) -> None:
        mac = self.fast.mac(self.text(draw))
        assert mac == self.slow.mac(self.text(draw))
        self.fast.insert(mac, subject, expires)
        self.slow.insert(mac, subject, expires)

    @rule(draw=st.integers(0, 100), now=st.integers(-20, 110))
    def check(self, draw: int, now: int) -> None:
        text = self.text(draw)
        assert outcome(lambda: self.fast.check(text, now)) == outcome(lambda: self.slow.check(text, now))

    @rule(text=NEARLY)
    def check_stranger(self, text: str) -> None:
        assert outcome(lambda: self.fast.check(text, 0)) == outcome(lambda: self.slow.check(text, 0))

    @rule(draw=st.integers(0, 100))
    def remove(self, draw: int) -> None:
        mac = self.slow.mac(self.text(draw))
        assert self.fast.remove(mac) is self.slow.remove(mac)

    @rule(now=st.integers(-20, 110))
    def sweep(self, now: int) -> None:
        assert sorted(self.fast.sweep(now)) == sorted(self.slow.sweep(now))

    @invariant()
    def same_size(self) -> None:
        assert len(self.fast) == len(self.slow)


TableMachine.TestCase.settings = settings(max_examples=60, deadline=None)
TestTable = TableMachine.TestCase


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_has_32_bytes(length: int) -> None:
    with pytest.raises((ValueError, TypeError)):
        token.TokenTable(bytes(length))


def test_macs_that_share_their_first_bytes_stay_apart() -> None:
    table = token.TokenTable(bytes(32))
    near, far = bytes(32), bytes(31) + b"\1"
    table.insert(near, 1, 10)
    table.insert(far, 2, 20)
    assert len(table) == 2
    assert table.sweep(15) == [near]
    assert table.remove(far)
    assert not table.remove(near)
