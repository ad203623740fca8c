"""Texts of addresses against their twin."""

from hypothesis import example, given
from hypothesis import strategies as st

from ghostwire._native import addresses
from tests.reference import addresses as twin

GROUPS = st.lists(st.integers(0, 0xFFFF) | st.just(0) | st.sampled_from([1, 0xF, 0x10, 0xFFF]), min_size=8, max_size=8)
OCTET = st.integers(0, 300) | st.sampled_from([0, 1, 9, 10, 99, 100, 224, 239, 240, 255, 256])
EXTRAS = st.sampled_from(["", "0", " ", "\n", "\u0664"])
PORT = st.integers(0, 70_000) | st.sampled_from([0, 1, 65_535, 65_536, 2**32, 2**64])


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_is_written_as_the_twin_writes_it(address: int) -> None:
    assert addresses.text4(address) == twin.text4(address)


@given(GROUPS)
@example([0] * 8)
@example([1, 0, 0, 2, 0, 0, 0, 3])
@example([0, 0, 1, 0, 0, 1, 0, 0])
@example([1, 0, 2, 3, 4, 5, 6, 7])
@example([0, 0, 0, 0, 0, 0xFFFF, 0x102, 0x304])
def test_an_ipv6_address_is_written_as_the_twin_writes_it(groups: list[int]) -> None:
    number = int.from_bytes(b"".join(group.to_bytes(2) for group in groups))
    halves = number >> 64, number & (1 << 64) - 1
    assert addresses.text6(*halves) == twin.text6(*halves)


@given(
    st.lists(OCTET, min_size=3, max_size=5), PORT, st.sampled_from(["", "0", " ", "\n", "\u0664"]), st.integers(0, 30)
)
@example([192, 0, 2, 1], 1024, "", 0)
@example([0, 0, 0, 0], 1024, "", 0)
@example([255, 255, 255, 255], 65_535, "", 0)
@example([224, 0, 0, 1], 1, "", 0)
def test_an_endpoint_is_told_as_the_twin_tells_it(octets: list[int], port: int, extra: str, at: int) -> None:
    text = f"{'.'.join(map(str, octets))}:{port}"
    for said in (text, text[:at] + extra + text[at:], text[:at]):
        assert addresses.is_endpoint4(said) is twin.is_endpoint4(said)


@given(st.text("0123456789.:[]a\u0660", max_size=24))
def test_any_other_text_is_no_endpoint(text: str) -> None:
    assert addresses.is_endpoint4(text) is twin.is_endpoint4(text)
