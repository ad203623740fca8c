"""The observer that is handed to servers and agents."""

from __future__ import annotations

from typing import TextIO

from ghostwire.telemetry.levels import NAMES, Level
from ghostwire.telemetry.log import Log, Style
from ghostwire.telemetry.traces import Traces

Value = str | int | float | bool | None


class Telemetry:
    """Events to the log, spans to traces (nowhere without an endpoint). Neither call waits for a network."""

    def __init__(self, log: Log, traces: Traces | None = None) -> None:
        self.log = log
        self._traces = traces

    def event(self, level: Level, name: str, /, **fields: Value) -> None:
        """Write an event to the log."""
        self.log.event(level, name, **fields)

    def span(self, name: str, start_ns: int, end_ns: int, /, **fields: Value) -> None:
        """Record that something took from `start_ns` to `end_ns` (UTC nanoseconds)."""
        if self._traces is not None:
            self._traces.span(name, start_ns, end_ns, **fields)

    def close(self) -> None:
        """Send what is left."""
        if self._traces is not None:
            self._traces.close()


def open_telemetry(
    service: str,
    level: str = "INFO",
    style: Style = "auto",
    endpoint: str | None = None,
    stream: TextIO | None = None,
) -> Telemetry:
    """Open the telemetry of this process and take in what libraries log.

    `level` is a name of `NAMES`; `endpoint` an OTLP endpoint or None. Raises ValidationError where traces are asked
    for and cannot be had.
    """
    log = Log(NAMES[level.upper()], style, stream)
    log.adopt_libraries()
    return Telemetry(log, Traces(endpoint, service) if endpoint else None)
