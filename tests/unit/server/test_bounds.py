"""Counting connections and pacing messages."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from ghostwire.server.listen import failures
from ghostwire.server.listen.admission import SPARE_FILES, Admission, within
from ghostwire.server.listen.failures import Failures
from ghostwire.server.options import Limits
from ghostwire.server.session.rate import Bucket, Pace


def test_one_address_cannot_take_every_place_and_a_trusted_proxy_may() -> None:
    admission = Admission(Limits(handshakes=4, handshakes_per_address=2, connections=6), lambda: 0.0)
    assert [admission.admit("a") for _ in range(3)] == [True, True, False]
    assert admission.admit("b")
    assert [admission.admit("p", shared=True) for _ in range(2)] == [True, False]
    admission.known("a")
    assert admission.admit("a")
    for address in ("a", "a", "b", "p"):
        admission.known(address)
    assert [admission.admit("c", shared=True) for _ in range(3)] == [True, False, False]
    for _ in range(6):
        admission.gone()
    admission.known("c")
    assert (admission.open, admission.unknown) == (0, 0)


def test_connections_leave_descriptors_to_the_store_and_the_doors() -> None:
    limits = Limits(connections=18_000, http_connections=1024)
    assert [within(limits, files).connections for files in (1024, 4096, 20_000)] == [512, 2816, 18_000]
    assert within(limits, 1 << 20) == limits


def test_http_at_all_workers_leaves_half_of_its_descriptors_to_the_process_that_has_the_store() -> None:
    limits = Limits(connections=18_000, http_connections=1024)
    assert within(limits, 4096, 4).http_connections == 512
    for files, workers in product((1024, 4096, 20_000, 1 << 20), (1, 2, 4, 16, 64)):
        bounds = within(limits, files, workers)
        assert 0 < workers * bounds.http_connections <= files // 2
        # A worker takes two for each: the client's, and its own to the process that has the store.
        assert bounds.connections + bounds.http_connections <= files - SPARE_FILES


def test_addresses_of_one_customer_are_one() -> None:
    admission = Admission(Limits(handshakes_per_address=2, http_connections_per_address=1), lambda: 0.0)
    assert [admission.admit(f"2001:db8::{host:x}") for host in range(3)] == [True, True, False]
    assert admission.admit("2001:db8:0:1::")
    admission.known("2001:db8::ffff")
    assert admission.admit("2001:db8::9")
    assert [admission.admit_http(f"2001:db8::{host:x}") for host in range(2)] == [True, False]
    admission.gone_http("2001:db8:0:0:1::")
    assert admission.admit_http("2001:db8::")


def test_http_has_places_of_its_own() -> None:
    admission = Admission(Limits(http_connections=3, http_connections_per_address=2), lambda: 0.0)
    for address in "aaap":
        assert admission.admit(address)
        admission.known(address)
    assert [admission.admit_http("a") for _ in range(3)] == [True, True, False]
    assert [admission.admit_http("p", shared=True) for _ in range(2)] == [True, False]
    admission.gone_http("a")
    assert admission.admit_http("a")
    assert not admission.admit_http("b")
    for address in "aap":
        admission.gone_http(address)
    assert (admission.http, admission.open) == (0, 0)


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 10), st.integers(1, 10))
def test_a_bucket_lets_through_no_more_than_its_rate_and_burst(pauses: list[float], rate: int, burst: int) -> None:
    bucket = Bucket(rate, burst, 0.0)
    now, taken = 0.0, 0
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        if wait:
            assert 0 < wait <= 1 / rate + 1e-9
        else:
            taken += 1
    assert taken <= burst + now * rate + 1e-6


def test_a_patient_client_is_never_refused() -> None:
    bucket = Bucket(2.0, 1, 0.0)
    assert not any(bucket.take(at * 0.5) for at in range(20))


def test_what_was_dear_is_paid_for_before_the_next_is_taken() -> None:
    bucket = Bucket(10.0, 5, 0.0)
    assert bucket.take(0.0) == 0.0
    bucket.charge(24.0)
    assert bucket.take(0.0) == 2.1
    assert bucket.take(2.0) > 0.0
    assert bucket.take(2.2) == 0.0


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 10), st.integers(1, 20))
def test_a_pace_lets_in_no_more_than_its_rate_and_burst(pauses: list[float], rate: int, burst: int) -> None:
    pace = Pace(rate, burst, 0.0)
    now = free_at = 0.0
    for taken, pause in enumerate(pauses, 1):
        now = max(now + pause, free_at)
        free_at = now + pace.take(now)
        assert taken <= burst + now * rate + 1e-6
        assert free_at <= now + burst / rate + 1e-6


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=80), st.integers(1, 10), st.integers(1, 10))
def test_failures_are_counted_by_a_bucket_an_address(steps: list[tuple[float, bool]], rate: int, burst: int) -> None:
    now = 0.0
    found = Failures(rate, burst, lambda: now)
    tokens, before = float(burst), 0.0
    for pause, fails in steps:
        now += pause
        tokens, before = min(burst, tokens + (now - before) * rate), now
        if abs(tokens - 1.0) > 1e-6:
            assert found.too_many("a") == (tokens < 1.0)
        if fails:
            found.count("a")
            tokens = max(0.0, tokens - 1.0)
        assert not found.too_many("b")


def test_so_many_addresses_are_remembered_and_no_more() -> None:
    found = Failures(1.0, 1, lambda: 0.0)
    for number in range(failures.SOURCES + 5):
        found.count(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1")
    assert len(found) == failures.SOURCES
    assert found.too_many(f"2001:db8:0:{failures.SOURCES & 0xFFFF:x}::2")
    assert not found.too_many("2001:db8:0:0::1")
