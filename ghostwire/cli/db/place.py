"""Where a coordinator's store is and what opens it, from the same configuration that `serve` reads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ghostwire.cli.options import data_option

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ghostwire import zqlite
    from ghostwire.cli.admin import Admin
    from ghostwire.server.store.orders import Order
    from ghostwire.zqlite.engine import Location

Function = Callable[..., Any]
ORDER_S = 3600.0
"""How long a server may take to perform an order: checking a big store takes a while."""


@dataclass(frozen=True, slots=True)
class Place:
    """A store's file, and its key or passphrase, or the file either is in. `stores` are all files under that key.

    `data` is the folder of the server whose store it is.
    """

    data: Path
    path: Path
    stores: tuple[Path, ...]
    key_file: Path
    passphrase: str | None = field(repr=False)
    passphrase_file: Path | None = None

    @classmethod
    def of(cls, data: Path, config: Path | None) -> Place:
        """The store of the coordinator whose folder is `data`."""
        from ghostwire.server.config.load import find_file, load
        from ghostwire.server.config.options import serve_options
        from ghostwire.server.store.passphrase import read
        from ghostwire.server.store.store import files
        from ghostwire.zqlite import rekey

        loaded = load(find_file(config, data), os.environ, {}).config
        options = serve_options(loaded, data, os.environ)
        stores = files(options)
        if options.passphrase_file is not None:
            rekey.settle(stores, options.passphrase_file)
        key_file = options.store_key or data / "store.key"
        return cls(data, stores[0], stores, key_file, read(options.passphrase_file), options.passphrase_file)

    def key(self, create: bool = False) -> bytes | None:
        """The root key; None where a passphrase takes its place."""
        from ghostwire.zqlite import keyring, rekey

        if self.passphrase is not None:
            return None
        rekey.settle(self.stores, self.key_file)
        return keyring.load_or_create(self.key_file) if create else keyring.load(self.key_file)

    def locate(self, path: Path) -> Location:
        """What opens a file that is being made at `path`; a missing key file is made."""
        from ghostwire.zqlite import engine

        return engine.locate(path, self.key(create=True), self.passphrase)

    def order(self, order: Order) -> dict[str, Any]:
        """Have the running server perform an order, or where none runs, open the file and perform it here."""
        from ghostwire.cli.admin import Admin
        from ghostwire.server.store.orders import perform

        with Admin.local(self.data, ORDER_S) as admin:
            if self._served(admin):
                answer: dict[str, Any] = admin.post("/v1/db", msgspec.to_builtins(order))
                return answer

        async def here() -> dict[str, Any]:
            async with self.open() as db:
                return await perform(db, order)

        return asyncio.run(here())

    def _served(self, admin: Admin) -> bool:
        from ghostwire.errors import UnavailableError

        try:
            admin.get("/v1/health/live")
        except UnavailableError:
            return False
        return True

    def open(self, path: Path | None = None) -> AbstractAsyncContextManager[zqlite.Store]:
        """The store, which must exist. Raises ConflictError while a server has it open."""
        return self._open(path or self.path)

    @asynccontextmanager
    async def _open(self, path: Path) -> AsyncIterator[zqlite.Store]:
        from ghostwire import zqlite
        from ghostwire.errors import ConflictError, NotFoundError

        if not path.exists():  # noqa: ASYNC240 (nothing else runs here)
            raise NotFoundError(f"there is no store {path}: name the coordinator's folder with --data")
        try:
            store = await zqlite.open(path, key=self.key(), passphrase=self.passphrase)
        except ConflictError as error:
            raise ConflictError(
                f"the store {path} is in use: this verb needs it for itself. Stop the server, run it, start the server"
            ) from error
        async with store:
            yield store


def place_options(function: Function) -> Function:
    """`--data DIR` and `--config FILE`: hands the verb `data` and `config`."""
    config = click.option(
        "--config", "config", type=click.Path(path_type=Path), metavar="FILE", help="The server's configuration."
    )
    return data_option("server")(config(function))
