"""Where a store's key comes from, and the keys that are derived from it.

A store has one 32-byte root key. It is given raw, kept in a key file (0600), handed over by systemd as a credential, or
derived from a passphrase by Argon2id (RFC 9106), whose salt is the first 16 bytes of the store's file. What encrypts is
never the root key itself but a key derived from it by BLAKE3 for one purpose.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from ghostwire._native import token
from ghostwire.errors import NotFoundError, PermissionDeniedError, ValidationError

KEY_BYTES: Final = 32
SALT_BYTES: Final = 16

_PAGES: Final = "ghostwire zqlite 2026 pages"
_COLUMNS: Final = "ghostwire zqlite 2026 columns"
_SIGNING: Final = "ghostwire zqlite 2026 signing"


def check(key: bytes) -> bytes:
    """`key` as a root key. Raises ValidationError unless it is 32 bytes."""
    if not isinstance(key, bytes | bytearray | memoryview) or len(key) != KEY_BYTES:
        raise ValidationError(f"a store key is {KEY_BYTES} raw bytes; for words use passphrase=")
    return bytes(key)


def page_key(root: bytes) -> bytes:
    """The key of the file's pages."""
    return token.derive_key(_PAGES, root)


def column_key(root: bytes) -> bytes:
    """The key that wraps the secret of ENCRYPTED columns."""
    return token.derive_key(_COLUMNS, root)


def signing_key(root: bytes) -> bytes:
    """What the seeds of the store's signing keys are derived from."""
    return token.derive_key(_SIGNING, root)


def signing_seed(key: bytes, use: str) -> bytes:
    """The seed of the composite key for one use, from `signing_key`: its two halves are derived apart."""
    return b"".join(token.derive_key(f"{_SIGNING} {use} {half}", key) for half in ("ML-DSA-65", "Ed25519"))


def load(path: str | os.PathLike[str]) -> bytes:
    """The root key in a key file.

    Raises NotFoundError when there is none, PermissionDeniedError when others may read it, ValidationError when it is
    not a key.
    """
    file = Path(path)
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise NotFoundError(f"there is no key file {file}: name the one the store was made with") from None
    except OSError as error:
        raise PermissionDeniedError(f"cannot read the key file {file}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as stream:
        if os.fstat(descriptor).st_mode & 0o077:
            raise PermissionDeniedError(f"others may read the key file {file}: run `chmod 600 {file}`")
        return _parse(stream.read(1024), f"the key file {file}")


def load_or_create(path: str | os.PathLike[str]) -> bytes:
    """The root key in a key file, which is made (0600, fsynced) if it is missing. Raises what `load` raises."""
    file = Path(path)
    try:
        return load(file)
    except NotFoundError:
        pass
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = secrets.token_bytes(KEY_BYTES)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(key.hex().encode() + b"\n")
            stream.flush()
            os.fsync(descriptor)
        try:
            os.link(draft, file)  # never over a file that someone else has just made
        except FileExistsError:
            return load(file)
        finally:
            draft.unlink()
        sync_directory(file.parent)
    except OSError as error:
        raise PermissionDeniedError(
            f"cannot make the key file {file} ({error.strerror}): let uid {os.geteuid()} write {file.parent}"
        ) from error
    return key


def from_credential(name: str) -> bytes:
    """The root key that systemd hands over as credential `name` (`LoadCredential=`).

    Raises NotFoundError when the service has none of that name.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise NotFoundError("there are no systemd credentials here: start the service with LoadCredential=")
    if "/" in name or name in ("", ".", ".."):
        raise ValidationError(f"{name!r} cannot be the name of a credential")
    file = Path(directory, name)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise NotFoundError(f"there is no systemd credential {name!r}: add LoadCredential={name}:PATH") from error
    return _parse(data, f"the credential {name!r}")


def from_passphrase(passphrase: str, salt: bytes) -> bytes:
    """The root key that a passphrase stands for: Argon2id, 64 MiB, 3 passes, 4 lanes.

    Raises ValidationError for an empty one.
    """
    if not passphrase:
        raise ValidationError("the passphrase is empty")
    return Argon2id(salt=salt, length=KEY_BYTES, iterations=3, lanes=4, memory_cost=64 * 1024).derive(
        passphrase.encode()
    )


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(data: bytes, what: str) -> bytes:
    """32 raw bytes, or 64 hexadecimal digits and white space around them."""
    if len(data) == KEY_BYTES:
        return data
    try:
        key = bytes.fromhex(data.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValidationError(f"{what} holds no key: it must be {KEY_BYTES} raw bytes or {2 * KEY_BYTES} hex digits")
    return key
