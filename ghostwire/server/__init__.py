"""The asyncio shell around the coordinator: store, driver, listener, node sessions, REST, metrics.

`Server` runs on the current event loop (`async with Server(options) as server`); `run` is the whole process. Both are
loaded at first use, so that reading a configuration does not load a web framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ghostwire.server.observer import Observer, Silent
from ghostwire.server.options import Limits, ServeOptions

if TYPE_CHECKING:
    from ghostwire.server.process import run
    from ghostwire.server.server import Server

__all__ = ["Limits", "Observer", "ServeOptions", "Server", "Silent", "run"]


def __getattr__(name: str) -> Any:
    if name == "run":
        from ghostwire.server.process import run

        return run
    if name == "Server":
        from ghostwire.server.server import Server

        return Server
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
