"""`blake3(data)`: the 32-byte BLAKE3 hash of a BLOB or of a text's UTF-8 bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apsw

from ghostwire._native import token
from ghostwire.errors import ValidationError

if TYPE_CHECKING:
    pass


def blake3(*values: Any) -> bytes | None:
    """The hash; NULL of NULL. Raises ValidationError for numbers, whose bytes would be anyone's guess."""
    (data,) = values
    if data is None:
        return None
    if isinstance(data, str):
        data = data.encode()
    if not isinstance(data, bytes):
        raise ValidationError("blake3() takes text or a BLOB: cast numbers first")
    return token.blake3(data)


def register(connection: apsw.Connection) -> None:
    """Give a connection `blake3`."""
    connection.create_scalar_function("blake3", blake3, 1, deterministic=True, flags=apsw.SQLITE_INNOCUOUS)
