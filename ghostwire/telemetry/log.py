"""One pipeline for every log line, ours and those of libraries: fields in, one line out."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, Literal, TextIO, cast

import orjson
import structlog
from structlog.typing import BindableLogger, EventDict, Processor

from ghostwire.telemetry import redact
from ghostwire.telemetry.levels import NUMBERS, Level, nearest

Style = Literal["auto", "console", "json"]


class LevelledLogger(structlog.BoundLoggerBase):
    """A structlog logger whose levels include trace."""

    def write(self, level: Level, name: str, fields: dict[str, Any]) -> None:
        """Send one event through the processors and write the line."""
        try:
            arguments, options = self._process_event(level, name, {"level": level, **fields})
        except structlog.DropEvent:
            return
        self._logger.msg(*arguments, **options)


class Log:
    """Writes events at or above `level`. `lost` counts lines that could not be written."""

    def __init__(self, level: Level, style: Style = "auto", stream: TextIO | None = None) -> None:
        stream = stream if stream is not None else sys.stderr
        self._threshold = NUMBERS[level]
        self.lost = 0
        logger: BindableLogger = structlog.wrap_logger(
            structlog.PrintLogger(stream),
            processors=_processors(style, stream),
            wrapper_class=LevelledLogger,
            cache_logger_on_first_use=True,
        )
        self._logger = cast(LevelledLogger, logger.bind())

    def event(self, level: Level, name: str, /, **fields: Any) -> None:
        """Write one event with its values as fields. A field called `level`, `time` or `event` gets a `_` behind."""
        if NUMBERS[level] < self._threshold:
            return
        safe = {f"{key}_" if key in ("level", "time", "event") else key: value for key, value in fields.items()}
        try:
            self._logger.write(level, name, safe)
        except OSError:
            # The reader of the log is gone or its disk is full; what is logged about must go on regardless.
            self.lost += 1

    def adopt_libraries(self) -> None:
        """Send what libraries log through the standard library, and Python's warnings, the same way."""
        handler = _Forward(self)
        logging.addLevelName(NUMBERS["trace"], "TRACE")
        logging.basicConfig(handlers=[handler], level=self._threshold, force=True)
        logging.captureWarnings(True)


class _Forward(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Any] = {"logger": record.name}
            if record.exc_info:
                fields["exc_info"] = record.exc_info
            level = nearest(record.levelno)
            if level == "info" and not record.name.startswith("ghostwire"):
                level = "debug"  # what a library tells of itself is detail to those who run Ghostwire
            self._log.event(level, record.getMessage(), **fields)
        except Exception:
            # A logging handler reports its own failure the way logging does, to stderr, and never raises.
            self.handleError(record)


def _processors(style: Style, stream: TextIO) -> list[Processor]:
    terminal = stream.isatty()
    if style == "auto":
        style = "console" if terminal else "json"
    shared: list[Processor] = [
        structlog.processors.format_exc_info,
        redact.redact_secrets,
        redact.hide_addresses,
        redact.plain_values,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    if style == "json":
        return [*shared, _json]
    colours = terminal and not os.environ.get("NO_COLOR")
    return [
        *shared,
        _escape_controls,
        structlog.dev.ConsoleRenderer(colors=colours, timestamp_key="time", pad_event_to=0),
    ]


def _json(_logger: object, _method: str, event: EventDict) -> str:
    first = {name: event.pop(name) for name in ("time", "level", "event") if name in event}
    return orjson.dumps({**first, **event}).decode()


def _escape_controls(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Keep strange text from moving a terminal's cursor or forging lines; tracebacks keep their lines."""
    for name, value in event.items():
        if name != "exception" and isinstance(value, str) and not value.isprintable():
            event[name] = value.encode("unicode_escape").decode()
    return event
