"""Files with keys: each is for one purpose, and a private one for its owner alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostwire.errors import ConflictError, NotFoundError, PermissionDeniedError, ValidationError
from ghostwire.zqlite import keyfile
from ghostwire.zqlite.seal import Identity


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A recipient's files, private and public."""
    identity, secret = Identity.generate()
    private, public = tmp_path / "a.key", tmp_path / "a.pub"
    keyfile.write(private, "recipient-private", secret)
    keyfile.write(public, "recipient-public", identity.public.data)
    return private, public


def test_a_key_comes_back_and_is_never_written_over(pair: tuple[Path, Path]) -> None:
    private, public = pair
    assert keyfile.identity(private).public.data == keyfile.recipient(public).data
    assert (private.stat().st_mode & 0o777, public.stat().st_mode & 0o777) == (0o600, 0o644)
    with pytest.raises(ConflictError, match="exists"):
        keyfile.write(private, "recipient-private", bytes(32))


def test_a_private_key_is_for_its_owner_alone(pair: tuple[Path, Path]) -> None:
    pair[0].chmod(0o640)
    with pytest.raises(PermissionDeniedError, match="chmod 600"):
        keyfile.identity(pair[0])


def test_another_key_is_told_from_the_one_that_belongs_here(pair: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = pair
    with pytest.raises(ValidationError, match="holds a recipient-public key, here belongs a recipient-private one"):
        keyfile.identity(public)
    with pytest.raises(ValidationError, match="here belongs a signer-private one"):
        keyfile.signing_key(private)
    with pytest.raises(NotFoundError):
        keyfile.identity(tmp_path / "none")
    public.write_text("ghostwire-recipient-public:zz")
    with pytest.raises(ValidationError, match="damaged"):
        keyfile.recipient(public)
