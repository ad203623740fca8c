"""X25519 keys: what is refused, and that agreement agrees."""

import os

import pytest

from ghostwire.errors import ValidationError
from ghostwire.wire import keys

P = 2**255 - 19
LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
]


def test_agreement_agrees():
    a, b = keys.clamp(os.urandom(32)), keys.clamp(os.urandom(32))
    assert keys.shared_secret(a, keys.public_key(b)) == keys.shared_secret(b, keys.public_key(a))


def test_the_iterated_vector_of_rfc_7748_section_5_2():
    k = u = (9).to_bytes(32, "little")
    for _ in range(1000):
        k, u = keys.shared_secret(k, u), k
    assert k.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


@pytest.mark.parametrize("u", LOW_ORDER)
def test_low_order_points_are_refused(u):
    with pytest.raises(ValidationError, match="low order"):
        keys.validate_public_key(u.to_bytes(32, "little"))
    with pytest.raises(ValidationError):
        keys.shared_secret(keys.clamp(os.urandom(32)), u.to_bytes(32, "little"))


@pytest.mark.parametrize("u", [P, P + 1, P + 9, 2**255 - 1, 2**255 + 9, 2**256 - 1])
def test_other_encodings_of_a_point_are_refused(u):
    with pytest.raises(ValidationError, match="canonical"):
        keys.validate_public_key(u.to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_lengths(length):
    with pytest.raises(ValidationError, match="32 bytes"):
        keys.validate_public_key(bytes(length))
    with pytest.raises(ValidationError, match="32 bytes"):
        keys.clamp(bytes(length))
    with pytest.raises(ValidationError, match="32 bytes"):
        keys.public_key(bytes(length))


def test_pairs_are_checked():
    a, b = keys.clamp(os.urandom(32)), keys.clamp(os.urandom(32))
    keys.check_pair(a, keys.public_key(a))
    with pytest.raises(ValidationError, match="belong together"):
        keys.check_pair(a, keys.public_key(b))
