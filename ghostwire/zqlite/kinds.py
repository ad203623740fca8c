"""Kinds of column values, as bits."""

from typing import Final

ENCRYPTED: Final = 1
COMPRESSED: Final = 2
CHACHA: Final = 4
"""Encrypted by ChaCha20-Poly1305 and not by AES-256-GCM."""
DICTIONARY: Final = 8
"""No value of a row but what a column's values are compressed with."""
