"""The description of REST that is checked in is the one that the server gives."""

from __future__ import annotations

import json
from pathlib import Path

from ghostwire.server.rest.access import OPEN
from ghostwire.server.rest.openapi import document

CHECKED_IN = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_file_is_current() -> None:
    """`python -m ghostwire.server.rest.openapi > docs/openapi.json` brings it up to date."""
    assert json.loads(CHECKED_IN.read_text()) == json.loads(json.dumps(document()))


def test_every_operation_says_what_it_is_and_how_it_refuses() -> None:
    seen = set()
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], (method, path)
            assert operation["operationId"] not in seen
            seen.add(operation["operationId"])
            if path not in OPEN:
                assert {"401", "403"} <= set(operation["responses"]), (method, path)
                assert operation["security"] == [{"token": []}], (method, path)
