"""The self-signed certificate: who it names, when it is renewed, and a pin that stays."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ghostwire.errors import ValidationError
from ghostwire.server.listen import tls

NOW = datetime(2030, 5, 1, tzinfo=UTC)
NAMES = ["mesh.example.com", "127.0.0.1", "::1"]


def certificate(directory: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / "tls.crt").read_bytes())


def test_names_life_and_pin(tmp_path: Path) -> None:
    identity = tls.self_signed(tmp_path, NAMES, NOW)
    made = certificate(tmp_path)
    found = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["mesh.example.com"]
    assert [str(address) for address in found.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    spki = made.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert identity.pin == f"sha256:{hashlib.sha256(spki).hexdigest()}"
    assert made.not_valid_before_utc < NOW
    assert tls.valid_until(identity) == NOW + tls.LIFE
    assert (tmp_path / "tls.key").stat().st_mode & 0o777 == 0o600


def test_the_pin_survives_renewals_and_other_names(tmp_path: Path) -> None:
    pin = tls.self_signed(tmp_path, NAMES, NOW).pin
    first = certificate(tmp_path)
    assert tls.self_signed(tmp_path, NAMES, NOW + timedelta(days=300)).pin == pin
    assert certificate(tmp_path) == first
    assert tls.self_signed(tmp_path, NAMES, NOW + tls.LIFE - timedelta(days=29)).pin == pin
    renewed = certificate(tmp_path)
    assert renewed != first
    assert tls.self_signed(tmp_path, [*NAMES, "other"], NOW + tls.LIFE - timedelta(days=29)).pin == pin
    assert certificate(tmp_path) != renewed


def test_a_running_server_renews_30_days_before_the_end(tmp_path: Path) -> None:
    identity = tls.self_signed(tmp_path, NAMES, NOW)
    assert not tls.renew(identity, NAMES, NOW + tls.LIFE - timedelta(days=31))
    assert tls.renew(identity, NAMES, NOW + tls.LIFE - timedelta(days=30))
    assert tls.valid_until(identity) == NOW + 2 * tls.LIFE - timedelta(days=30)


def test_files_must_belong_together(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir(), other.mkdir()
    pin = tls.self_signed(one, NAMES, datetime.now(UTC)).pin
    tls.self_signed(other, NAMES, datetime.now(UTC))
    identity = tls.from_files(one / "tls.crt", one / "tls.key")
    assert identity.pin == pin
    assert isinstance(identity.context, ssl.SSLContext)
    for wrong in (other / "tls.key", tmp_path / "missing"):
        with pytest.raises(ValidationError):
            tls.from_files(one / "tls.crt", wrong)


def test_a_key_that_is_none_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "tls.key").write_text("precious")
    with pytest.raises(ValidationError):
        tls.self_signed(tmp_path, NAMES, NOW)
    assert (tmp_path / "tls.key").read_text() == "precious"
