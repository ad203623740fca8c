"""Every REST operation under generated requests: no 500, and nothing but what its description says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import CHECKS

from ghostwire.coordinator.commands import CreateApiToken, CreatePreauthKey
from ghostwire.coordinator.settings import Settings
from ghostwire.server import Limits, ServeOptions
from ghostwire.server.rest.openapi import document
from tests.api.threaded import running
from tests.integration.recorder import Recorder

schema = schemathesis.openapi.from_dict(document())
HELD_TO = CHECKS.get_by_names(
    ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    options = ServeOptions(
        data=tmp_path_factory.mktemp("fuzz") / "server",
        settings=Settings(),
        listen="127.0.0.1:0",
        tls_off=True,
        limits=Limits(body_bytes=100_000),
    )
    recorder = Recorder()
    with running(options, recorder) as (server, loop):

        async def prepare() -> str:
            actor: dict[str, Any] = {"actor": "admin:test"}
            ask = server.driver.ask
            await ask(lambda op: CreatePreauthKey(op=op, user="alice", uses=None, **actor))
            token = await ask(
                lambda op: CreateApiToken(op=op, name="fuzz", scope="admin", granted="admin", life_s=3600.0, **actor)
            )
            secret: str = token.secret
            return secret

        secret = asyncio.run_coroutine_threadsafe(prepare(), loop).result(30)
        yield f"http://127.0.0.1:{server.port}", secret
    assert recorder.faults == []


@schema.parametrize()
@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_is_a_fault(case: Case, target: tuple[str, str]) -> None:
    url, secret = target
    response = case.call(base_url=url, headers={"Authorization": f"Bearer {secret}"})
    case.validate_response(response, checks=HELD_TO)
