import pytest

from ghostwire.errors import ValidationError
from ghostwire.telemetry import traces
from tests.collector import collecting


@pytest.mark.parametrize("suffix", ["", "/", "/v1/traces"])
def test_spans_reach_a_collector(suffix: str) -> None:
    with collecting() as collector:
        sender = traces.Traces(f"http://127.0.0.1:{collector.server_port}{suffix}", "ghostwire-server")
        sender.span("netmap build", 1_000_000_000, 1_000_250_000, nodes=3, nothing=None)
        sender.close()
    ((path, request),) = collector.seen
    assert path == "/v1/traces"
    resource = {a.key: a.value.string_value for a in request.resource_spans[0].resource.attributes}
    assert resource["service.name"] == "ghostwire-server"
    (span,) = collector.spans()
    assert (span.name, span.start_time_unix_nano, span.end_time_unix_nano) == (
        "netmap build", 1_000_000_000, 1_000_250_000,
    )  # fmt: skip
    assert {a.key: a.value.int_value for a in span.attributes} == {"nodes": 3}


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ValidationError, match=r"ghostwire-mesh\[otel\]"):
        traces.Traces("http://localhost:4318", "x")
