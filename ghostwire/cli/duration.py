"""Durations as arguments: `30m`, `24h`, `90d`."""

from __future__ import annotations

import click

from ghostwire.errors import ValidationError


class DurationType(click.ParamType[float]):
    """Seconds, written with a unit; never zero."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the text."""
        from ghostwire.server.config.units import parse_duration

        if isinstance(value, float):
            return value
        try:
            seconds = float(parse_duration(str(value)))
        except ValidationError as error:
            self.fail(error.message, param, ctx)
        if seconds == 0:
            self.fail("it ends by itself sooner or later: give a duration like 1h or 90d", param, ctx)
        return seconds


DURATION = DurationType()
