"""Column blocks and their cache against their twin."""

import json
import math
import secrets
import struct
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ghostwire._native import blocks
from ghostwire.errors import DatabaseError, ValidationError
from tests.data.vectors import make_blocks as golden
from tests.reference import blocks as twin

DATABASE, SECRET, SERIES = b"database", bytes(range(32)), b"series"

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "i": INT64 | st.integers(-99, 99),
    "f": st.floats(allow_nan=False) | st.integers(-9999, 9999).map(lambda value: value / 100),
    "t": st.text(max_size=5),
    "b": st.binary(max_size=5),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[list[Any]]]:
    """Kinds, and as many columns of one length."""
    kinds = draw(st.text("iftb", min_size=1, max_size=5))
    rows = draw(st.integers(0, 300))
    step = draw(st.sampled_from([0, 1, 1000, 30_000_000_000]))

    def column(kind: str) -> list[Any]:
        if kind == "i" and step:
            start = draw(st.integers(-(1 << 40), 1 << 60))
            noise = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
            return [start + at * step + more for at, more in enumerate(noise)]
        return draw(st.lists(VALUES[kind], min_size=rows, max_size=rows))

    return kinds, [column(kind) for kind in kinds]


def columns_of(block: blocks.Block) -> list[list[Any]]:
    """A block's columns as plain lists; floats by their bits, so that -0.0 is not 0.0."""
    found: list[list[Any]] = []
    for at, kind in enumerate(block.kinds):
        if kind in "if":
            found.append(np.frombuffer(block.values(at), np.int64).tolist())
        else:
            found.append(list(block.texts(at, 0, block.rows)))
    return found


def bits(kinds: str, columns: list[list[Any]]) -> list[list[Any]]:
    """Columns with floats by their bits."""
    as_bits = struct.Struct("<d"), struct.Struct("<q")
    return [
        [as_bits[1].unpack(as_bits[0].pack(value))[0] for value in values] if kind == "f" else list(values)
        for kind, values in zip(kinds, columns, strict=True)
    ]


@settings(deadline=None)
@given(tables(), st.sampled_from(["aes256gcm", "chacha20"]), st.integers(0, (1 << 64) - 1), st.integers(0, 1 << 31))
def test_the_twin_reads_what_it_seals(
    table: tuple[str, list[list[Any]]], cipher: Any, number: int, version: int
) -> None:
    kinds, columns = table
    sealer = blocks.Sealer(DATABASE, SECRET, cipher)
    sealed = sealer.seal(golden.made(kinds, columns), SERIES, number, version, secrets.token_bytes(12))
    found = twin.open_block(sealed, DATABASE, SECRET, SERIES, number)
    assert (found[0], bits(*found)) == (kinds, bits(kinds, columns))
    assert columns_of(sealer.open(sealed, SERIES, number)) == bits(kinds, columns)


@settings(deadline=None)
@given(tables())
def test_it_reads_what_the_twin_seals(table: tuple[str, list[list[Any]]]) -> None:
    kinds, columns = table
    sealed = twin.seal_block(kinds, columns, DATABASE, SECRET, SERIES, 7)
    block = blocks.Sealer(DATABASE, SECRET).open(sealed, SERIES, 7)
    assert (block.kinds, columns_of(block)) == (kinds, bits(kinds, columns))


@pytest.mark.parametrize("name", golden.TABLES)
@pytest.mark.parametrize("cipher", golden.CIPHERS)
def test_blocks_of_every_release_open(name: str, cipher: str) -> None:
    kinds, columns = golden.TABLES[name]
    number = list(golden.TABLES).index(name)
    sealed = bytes.fromhex(json.loads(golden.FILE.read_text())[f"{name}/{cipher}"])
    block = blocks.Sealer(golden.DATABASE, golden.SECRET).open(sealed, golden.SERIES, number)
    assert (block.kinds, columns_of(block)) == (kinds, bits(kinds, columns))
    found = twin.open_block(sealed, golden.DATABASE, golden.SECRET, golden.SERIES, number)
    assert bits(*found) == bits(kinds, columns)


@given(st.binary(max_size=200))
def test_other_bytes_do_not_open(data: bytes) -> None:
    with pytest.raises(DatabaseError, match="does not open"):
        blocks.Sealer(DATABASE, SECRET).open(data, SERIES, 1)


def test_a_block_opens_at_its_place_alone() -> None:
    sealer = blocks.Sealer(DATABASE, SECRET)
    sealed = sealer.seal(golden.made("i", [[1, 2]]), SERIES, 7, 1, bytes(12))
    for other, series, number in [
        (blocks.Sealer(b"another", SECRET), SERIES, 7),
        (blocks.Sealer(DATABASE, bytes(32)), SERIES, 7),
        (sealer, b"another", 7),
        (sealer, SERIES, 8),
    ]:
        with pytest.raises(DatabaseError):
            other.open(sealed, series, number)


def test_what_is_no_block_is_refused() -> None:
    numbers = np.zeros(3, np.int64)
    for kinds, columns in [("", []), ("i", []), ("x", [numbers]), ("ii", [numbers, numbers[:2]])]:
        with pytest.raises(ValidationError):
            blocks.Block.of(kinds, columns)
    with pytest.raises(ValidationError):
        blocks.Block.of("i", [np.zeros(1 << 18, np.int64)])
    block = blocks.Block.of("it", [numbers, ["a"] * 3])
    for wrong in (1, 2):
        with pytest.raises(ValidationError):
            block.values(wrong)
    with pytest.raises(ValidationError):
        block.texts(0, 0, 1)
    with pytest.raises(ValidationError):
        block.between(1, 0, 1)
    with pytest.raises(ValidationError):
        blocks.Sealer(DATABASE, SECRET, "rot13")  # type: ignore[arg-type]


@given(st.lists(st.integers(-9, 9)).map(sorted), st.integers(-10, 10), st.integers(-10, 10))
def test_rows_between_two_times(times: list[int], since: int, until: int) -> None:
    start, end = golden.made("i", [times]).between(0, since, until)
    assert times[start:end] == [at for at in times if since <= at < until]


def test_numbers_outlive_their_block() -> None:
    values = np.frombuffer(golden.made("f", [[1.5, math.inf]]).values(0))
    assert values.tolist() == [1.5, math.inf]
    assert not values.flags.writeable


class CacheMachine(RuleBasedStateMachine):
    """The cache holds what the twin holds, whatever is read in whatever order."""

    @initialize(budget=st.integers(0, 20))
    def start(self, budget: int) -> None:
        self.sealer = blocks.Sealer(DATABASE, SECRET)
        unit = golden.made("i", [[0]]).weight
        self.cache, self.twin = blocks.Cache(budget * unit), twin.Sieve(budget * unit)
        self.owner = self.cache.owner()

    @rule(number=st.integers(0, 30), rows=st.integers(1, 40))
    def fetch(self, number: int, rows: int) -> None:
        block = golden.made("i", [[number] * rows])
        sealed = self.sealer.seal(block, SERIES, number, 1, bytes(12))
        loads = []

        def load() -> bytes:
            loads.append(number)
            return sealed

        found = self.cache.fetch(self.owner, number, self.sealer, SERIES, load)
        assert set(columns_of(found)[0]) == {number}
        assert self.twin.fetch(number, block.weight) == (not loads)

    @rule(number=st.integers(0, 30))
    def forget(self, number: int) -> None:
        self.cache.forget(self.owner, number)
        self.twin.forget(number)

    @invariant()
    def counts(self) -> None:
        if not hasattr(self, "cache"):
            return
        counters = self.cache.counters()
        assert counters["bytes"] == sum(entry[1] for entry in self.twin.queue) <= self.twin.budget
        assert counters["blocks"] == len(self.twin.queue)
        assert (counters["hits"], counters["misses"]) == (self.twin.hits, self.twin.misses)
        assert counters["evictions"] == self.twin.evictions


TestCache = CacheMachine.TestCase
TestCache.settings = settings(max_examples=50, stateful_step_count=60, deadline=None)


def traces() -> dict[str, list[int]]:
    """Which blocks a coordinator reads: some nodes again and again, with scans over everything in between."""
    random = np.random.default_rng(7)
    hot = (random.zipf(1.2, 20_000) % 1000).tolist()
    mixed: list[int] = []
    for at in range(0, 20_000, 2000):
        mixed += hot[at : at + 2000] + list(range(2000))
    return {"hot": hot, "hot and scans": mixed, "loop": list(range(300)) * 20}


@pytest.mark.parametrize("name", sorted(traces()))
def test_it_misses_no_more_than_an_lru_of_the_same_size(name: str) -> None:
    sealer = blocks.Sealer(DATABASE, SECRET)
    block = golden.made("i", [[1]])
    sealed = {n: sealer.seal(block, SERIES, n, 1, bytes(12)) for n in set(traces()[name])}
    cache, lru = blocks.Cache(100 * block.weight), twin.Lru(100 * block.weight)
    for number in traces()[name]:
        cache.fetch(0, number, sealer, SERIES, lambda number=number: sealed[number])  # type: ignore[misc]
        lru.fetch(number, block.weight)
    assert cache.counters()["hits"] >= lru.hits
    if name == "hot and scans":
        assert cache.counters()["hits"] > 1.1 * lru.hits


def test_threads_that_miss_together_load_once() -> None:
    sealer, cache = blocks.Sealer(DATABASE, SECRET), blocks.Cache(1 << 20)
    sealed = sealer.seal(golden.made("i", [[5]]), SERIES, 1, 1, bytes(12))
    entered, release, loads, found = threading.Event(), threading.Event(), [], []

    def load() -> bytes:
        loads.append(1)
        entered.set()
        assert release.wait(10)
        return sealed

    def read() -> None:
        found.append(columns_of(cache.fetch(0, 1, sealer, SERIES, load)))

    threads = [threading.Thread(target=read) for _ in range(6)]
    threads[0].start()
    assert entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    release.set()
    for thread in threads:
        thread.join()
    assert (len(loads), found) == (1, [[[5]]] * 6)


def test_a_failed_load_is_told_and_tried_again() -> None:
    sealer, cache = blocks.Sealer(DATABASE, SECRET), blocks.Cache(1 << 20)

    def fails() -> bytes:
        raise KeyError("gone")

    with pytest.raises(KeyError):
        cache.fetch(0, 1, sealer, SERIES, fails)
    with pytest.raises(DatabaseError):
        cache.fetch(0, 1, sealer, SERIES, lambda: b"nonsense")
    sealed = sealer.seal(golden.made("i", [[5]]), SERIES, 1, 1, bytes(12))
    assert cache.fetch(0, 1, sealer, SERIES, lambda: sealed).rows == 1
    assert cache.get(0, 1) is not None
    cache.forget_owner(0)
    assert cache.get(0, 1) is None
