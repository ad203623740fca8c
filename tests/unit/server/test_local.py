"""The sockets between a server's own processes."""

import asyncio
from pathlib import Path
from typing import cast

import uvloop

from ghostwire.server.listen import local


def test_a_connection_that_breaks_at_once_is_closed_once(tmp_path: Path) -> None:
    """Its number is another's by the time that it would be closed again; Python warns of a socket left to do so."""

    class Broken(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            cast("asyncio.Transport", transport).abort()

    with local.bind(tmp_path, "socket"):
        uvloop.run(local.dial(tmp_path, "socket", Broken))
