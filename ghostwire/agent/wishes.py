"""What `ghostwire up` was asked for, beside whom to join."""

from __future__ import annotations

from typing import Final

import msgspec

DEFAULT_PORT: Final = 51820
DEFAULT_DEVICE: Final = "ghostwire0"


class Wishes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to run. Kept, so that `ghostwire up` alone repeats the last run.

    `tun` names the device and then insists on one; without it a device is used where it may be. `forwards` are
    `LOCAL=PEER:PORT`, `exposes` are `PORT=LOCALADDR`.
    """

    hostname: str = ""
    port: int = DEFAULT_PORT
    tun: str | None = None
    userspace: bool = False
    socks5: str | None = None
    forwards: tuple[str, ...] = ()
    exposes: tuple[str, ...] = ()
    open_proxy: bool = False
    operator: str | None = None
