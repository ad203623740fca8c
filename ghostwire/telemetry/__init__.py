"""Logs and traces. Layers below know only an observer that takes events and spans; this is the one that tells people.

`open_telemetry(...)` gives that observer: events become structured log lines, spans become OpenTelemetry traces where
an endpoint is set.
"""

from ghostwire.telemetry.levels import Level
from ghostwire.telemetry.observer import Telemetry, open_telemetry

__all__ = ["Level", "Telemetry", "open_telemetry"]
