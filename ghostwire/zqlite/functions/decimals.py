"""Exact decimal numbers in SQL, where SQLite's own are binary floats.

A decimal is text such as '12.34567890'. `decimal(x, digits, scale)` brings a number or text into the one form that a
column DECIMAL(digits, scale) holds: exactly `scale` digits behind the point, and an error when it does not fit or would
have to be rounded. `dec_add`, `dec_sub`, `dec_mul` are exact; `dec_div(a, b, scale)` rounds half to even at `scale`;
`dec_sum` adds up a column; `dec_cmp(a, b)` is -1, 0 or 1; the collation DECIMAL sorts and compares decimals by value.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation
from typing import TYPE_CHECKING, Any

import apsw

from ghostwire.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

_EXACT = Context(prec=200, traps=[Inexact, InvalidOperation])
_ROUND = Context(prec=200, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation])


def parse(value: Any) -> Decimal:
    """A decimal from text or an integer; a float counts as what it prints as. Raises ValidationError for the rest."""
    if isinstance(value, int | float | str):
        try:
            number = Decimal(str(value).strip())
        except InvalidOperation:
            number = Decimal("nan")
        if number.is_finite() and abs(number.adjusted()) < 100:
            return number
    raise ValidationError(f"{value!r} is no decimal number")


def decimal(*values: Any) -> str | None:
    """`x` in the form of DECIMAL(digits, scale); NULL of NULL."""
    value, digits, scale = values
    if value is None:
        return None
    number = parse(value)
    try:
        fitted = number.quantize(Decimal(1).scaleb(-scale), context=_EXACT)
    except (Inexact, InvalidOperation):
        raise ValidationError(f"{value!r} has more than {scale} digits behind the point") from None
    if fitted and fitted.adjusted() >= digits - scale:
        raise ValidationError(f"{value!r} does not fit DECIMAL({digits},{scale})")
    return format(fitted + 0, "f")


def dec_div(*values: Any) -> str | None:
    """`a / b` with `scale` digits behind the point, rounded half to even; NULL when any is NULL."""
    if None in values:
        return None
    left, right, scale = parse(values[0]), parse(values[1]), values[2]
    if not right:
        raise ValidationError("division by zero")
    return format(_ROUND.divide(left, right).quantize(Decimal(1).scaleb(-scale), context=_ROUND), "f")


def compare(left: str, right: str) -> int:
    """Order by value; text that is no number comes last, by itself in text order."""
    numbers = []
    for text in (left, right):
        try:
            numbers.append((0, parse(text), ""))
        except ValidationError:
            numbers.append((1, Decimal(0), text))
    return (numbers[0] > numbers[1]) - (numbers[0] < numbers[1])


def dec_cmp(*values: Any) -> int | None:
    """-1, 0 or 1; NULL when either is NULL."""
    if None in values:
        return None
    left, right = map(parse, values)
    return (left > right) - (left < right)


class Sum:
    """The exact sum of a column; NULL of no rows."""

    def __init__(self) -> None:
        self._total: Decimal | None = None

    def step(self, *values: Any) -> None:
        """One more row; NULLs are passed over."""
        if values[0] is not None:
            self._total = _EXACT.add(self._total or Decimal(0), parse(values[0]))

    def final(self) -> str | None:
        """The sum so far."""
        return None if self._total is None else format(self._total, "f")


def register(connection: apsw.Connection) -> None:
    """Give a connection these functions and the collation DECIMAL."""
    table: dict[str, tuple[Callable[..., Any], int]] = {
        "decimal": (decimal, 3),
        "dec_add": (_pair(_EXACT.add), 2),
        "dec_sub": (_pair(_EXACT.subtract), 2),
        "dec_mul": (_pair(_EXACT.multiply), 2),
        "dec_div": (dec_div, 3),
        "dec_cmp": (dec_cmp, 2),
    }
    for name, (function, count) in table.items():
        connection.create_scalar_function(name, function, count, deterministic=True, flags=apsw.SQLITE_INNOCUOUS)
    connection.create_aggregate_function("dec_sum", Sum, 1, flags=apsw.SQLITE_INNOCUOUS)
    connection.create_collation("DECIMAL", compare)


def _pair(operation: Callable[[Decimal, Decimal], Decimal]) -> Callable[..., str | None]:
    def function(*values: Any) -> str | None:
        if None in values:
            return None
        try:
            return format(operation(parse(values[0]), parse(values[1])), "f")
        except (Inexact, InvalidOperation):
            raise ValidationError("the result has more digits than can be held exactly") from None

    return function
