"""Python's values that SQLite has no type for, as the text that SQL knows them by."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from ghostwire.errors import ValidationError

if TYPE_CHECKING:
    import apsw


def convert(_cursor: apsw.Cursor, number: int, value: object) -> str:
    """A decimal in plain digits, a time in UTC as CURRENT_TIMESTAMP has it, a date in ISO 8601.

    Raises ValidationError for a time without a time zone, and for any other type.
    """
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValidationError(f"parameter {number} is a time without a time zone: say which one it is in")
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    raise ValidationError(f"parameter {number} is a {type(value).__name__}: SQL takes None, numbers, text and bytes")
