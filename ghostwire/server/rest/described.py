"""What the framework's description of REST leaves out: every route refuses with a problem document."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin

from ghostwire.server.rest.access import OPEN
from ghostwire.server.rest.problem import MEDIA_TYPE, Problem

_REF: Final = "#/components/schemas/{name}"
_ALWAYS: Final = {401, 403, 503}
_WITH_NAMES: Final = {400, 404}
_WITH_BODY: Final = {400, 404, 409, 413, 415, 429}


def complete(schema: dict[str, Any]) -> dict[str, Any]:
    """The description with every refusal; the one that is handed in is changed."""
    (reference,), components = msgspec.json.schema_components([Problem], ref_template=_REF)
    schema["components"]["schemas"] |= components
    content = {MEDIA_TYPE: {"schema": reference}}
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            for status in _statuses(path, method, operation):
                operation["responses"][str(status)] = {
                    "description": HTTPStatus(status).phrase,
                    "content": content,
                }
    return schema


def _statuses(path: str, method: str, operation: dict[str, Any]) -> set[int]:
    if path in OPEN:
        return {400, 403, 503}
    found = set(_ALWAYS)
    if operation.get("parameters"):
        found |= _WITH_NAMES
    return found if method == "get" else found | _WITH_BODY


class Described(JsonRenderPlugin):
    """Serves the completed description."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The description as JSON."""
        return self.render_json(request, complete(openapi_schema))
