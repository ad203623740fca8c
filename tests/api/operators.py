"""Operators for tests: the admin socket, and tokens over the public port."""

from __future__ import annotations

import ssl
from typing import Any

import httpx

from ghostwire.server import Server


def local(server: Server) -> httpx.AsyncClient:
    """Over the admin socket."""
    transport = httpx.AsyncHTTPTransport(uds=str(server.options.data / "admin.sock"))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=20)


def remote(server: Server, token: str | None) -> httpx.AsyncClient:
    """Over the public port, with a bearer token or none."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(verify=context, base_url=f"https://127.0.0.1:{server.port}", headers=headers, timeout=20)


async def call(server: Server, method: str, path: str, **options: Any) -> Any:
    """What an admin is answered; fails on a refusal."""
    async with local(server) as client:
        response = await client.request(method, path, **options)
        assert response.status_code < 300, response.text
        return response.json() if response.content else None
