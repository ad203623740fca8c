"""The description of REST as one document: what the server gives, what docs/openapi.json holds."""

from __future__ import annotations

import json
import sys
from typing import Any

from ghostwire.server.observer import Silent
from ghostwire.server.rest.application import application
from ghostwire.server.rest.described import complete


def document() -> dict[str, Any]:
    """The OpenAPI document. It needs no running server: routes are described, never called."""
    return complete(application(None, Silent(), 0).openapi_schema.to_schema())


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
