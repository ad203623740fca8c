"""OpenTelemetry traces over OTLP, loaded only where an endpoint is set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ghostwire import __version__
from ghostwire.errors import ValidationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer


class Traces:
    """Sends spans to `endpoint` (OTLP over HTTP) in batches, from a thread of the exporter's own."""

    def __init__(self, endpoint: str, service: str) -> None:
        """Raise ValidationError where the extra `otel` is not installed."""
        self._provider = _provider(endpoint, service)
        self._tracer: Tracer = self._provider.get_tracer("ghostwire", __version__)

    def span(self, name: str, start_ns: int, end_ns: int, /, **fields: str | int | float | bool | None) -> None:
        """Record a span that is over; times are UTC nanoseconds."""
        attributes = {key: value for key, value in fields.items() if value is not None}
        self._tracer.start_span(name, start_time=start_ns, attributes=attributes).end(end_ns)

    def close(self) -> None:
        """Send what is left and stop."""
        self._provider.shutdown()


def _provider(endpoint: str, service: str) -> TracerProvider:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise ValidationError(
            "telemetry.otlp_endpoint is set, but OpenTelemetry is not installed: "
            "install `ghostwire-mesh[otel]`, or unset it."
        ) from error
    resource = Resource.create({"service.name": service, "service.version": __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    # The general endpoint of OTLP over HTTP gets the signal's path; one that names a path already is taken as it is.
    url = endpoint if endpoint.endswith("/v1/traces") else f"{endpoint.rstrip('/')}/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    return provider
