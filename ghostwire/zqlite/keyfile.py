"""Files that hold the keys of backups: a word that says what kind it is, a colon, the key in hexadecimal digits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

from ghostwire.errors import ConflictError, NotFoundError, PermissionDeniedError, ValidationError
from ghostwire.zqlite.composite import SigningKey, VerifyingKey
from ghostwire.zqlite.seal import Identity, Recipient

Kind = Literal["recipient-private", "recipient-public", "signer-private", "signer-public"]

_PREFIX: Final = "ghostwire-"
_MOST_BYTES: Final = 16 * 1024


def write(path: Path, kind: Kind, data: bytes) -> None:
    """Put a key in a new file, a private one for its owner only.

    Raises ConflictError when the file exists, PermissionDeniedError when it cannot be made.
    """
    mode = 0o600 if kind.endswith("private") else 0o644
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise ConflictError(f"{path} exists: a key is never written over, name another file") from None
    except OSError as error:
        raise PermissionDeniedError(f"cannot make {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text(kind, data) + "\n")
        stream.flush()
        os.fsync(descriptor)


def text(kind: Kind, data: bytes) -> str:
    """A key as its file spells it."""
    return f"{_PREFIX}{kind}:{data.hex()}"


def recipient(path: Path) -> Recipient:
    """A public key that backups are sealed to."""
    return Recipient(_parse(read(path), "recipient-public", str(path)))


def identity(path: Path) -> Identity:
    """A private key that opens backups."""
    return Identity(_parse(read(path, private=True), "recipient-private", str(path)))


def signing_key(path: Path) -> SigningKey:
    """A private key that signs backups."""
    return SigningKey(_parse(read(path, private=True), "signer-private", str(path)))


def verifying_key(path: Path) -> VerifyingKey:
    """A public key that checks who signed."""
    return VerifyingKey.from_bytes(_parse(read(path), "signer-public", str(path)))


def parse_recipient(spelled: str) -> Recipient:
    """A public key that backups are sealed to, as its file spells it."""
    return Recipient(_parse(spelled, "recipient-public", "this"))


def parse_signing_key(spelled: str) -> SigningKey:
    """A private key that signs backups, as its file spells it."""
    return SigningKey(_parse(spelled, "signer-private", "this"))


def read(path: Path, *, private: bool = False) -> str:
    """The key in a file, as it is spelled.

    Raises NotFoundError where there is none, PermissionDeniedError when others may read a private one.
    """
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            line = stream.read(_MOST_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise NotFoundError(f"cannot read the key {path}: {error.strerror}") from error
    if private and line.partition(":")[0].endswith("-private") and mode & 0o077:
        raise PermissionDeniedError(f"others may read the private key {path}: run `chmod 600 {path}`")
    return line


def _parse(line: str, kind: Kind, where: str) -> bytes:
    """The key that a line spells. Raises ValidationError when it is a key of another kind or none."""
    if not line.startswith(_PREFIX) or ":" not in line:
        raise ValidationError(f"{where} holds no key: `ghostwire db keygen` makes such files")
    found, _, digits = line.removeprefix(_PREFIX).partition(":")
    if found != kind:
        raise ValidationError(f"{where} holds a {found} key, here belongs a {kind} one")
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ValidationError(f"{where} is damaged: the key in it is not hexadecimal") from None
