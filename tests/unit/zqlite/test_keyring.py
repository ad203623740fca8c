"""Where keys come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostwire.errors import NotFoundError, PermissionDeniedError, ValidationError
from ghostwire.zqlite import keyring


def test_key_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "store.key"
    with pytest.raises(NotFoundError, match="no key file"):
        keyring.load(file)
    key = keyring.load_or_create(file)
    assert len(key) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert keyring.load_or_create(file) == keyring.load(file) == key
    assert [entry.name for entry in file.parent.iterdir()] == ["store.key"]
    file.write_bytes(key)
    assert keyring.load(file) == key
    file.chmod(0o644)
    with pytest.raises(PermissionDeniedError, match="chmod 600"):
        keyring.load(file)
    file.chmod(0o600)
    file.write_text("not a key")
    with pytest.raises(ValidationError, match="holds no key"):
        keyring.load_or_create(file)
    assert file.read_text() == "not a key"


def test_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(NotFoundError, match="LoadCredential"):
        keyring.from_credential("store.key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(NotFoundError, match=r"LoadCredential=store\.key:PATH"):
        keyring.from_credential("store.key")
    (tmp_path / "store.key").write_text("ab" * 32 + "\n")
    assert keyring.from_credential("store.key") == b"\xab" * 32
    for name in ("../x", "", ".."):
        with pytest.raises(ValidationError):
            keyring.from_credential(name)


def test_passphrase_is_salted_and_slow_to_guess() -> None:
    one = keyring.from_passphrase("correct horse", bytes(16))
    assert len(one) == 32
    assert one == keyring.from_passphrase("correct horse", bytes(16))
    assert one != keyring.from_passphrase("correct horse", b"\1" * 16)
    assert one != keyring.from_passphrase("correct Horse", bytes(16))


def test_purposes_get_different_keys() -> None:
    assert keyring.page_key(bytes(32)) != bytes(32)
