"""The public port: sockets that share it, and nobody else beside them."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from ghostwire.errors import UnavailableError
from ghostwire.server.listen import public
from ghostwire.server.listen.endpoint import Endpoint
from ghostwire.server.listen.public import bind, bind_together, bound

ANY = Endpoint("127.0.0.1", 0)


def test_every_socket_of_a_shared_port_gets_connections() -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(listening) for listening in bind_together(ANY, 3)]
        there = bound(sockets[0], ANY)
        assert len({listening.getsockname() for listening in sockets}) == 1
        for _ in range(200):
            stack.enter_context(socket.create_connection((there.host, there.port)))
        for listening in sockets:
            listening.settimeout(5.0)
            connection, _ = listening.accept()
            connection.close()


def test_a_port_that_somebody_has_is_not_shared_with_them() -> None:
    with bind(ANY) as alone, pytest.raises(UnavailableError):
        bind_together(bound(alone, ANY), 2)
    with ExitStack() as stack:
        sockets = [stack.enter_context(listening) for listening in bind_together(ANY, 2)]
        with pytest.raises(UnavailableError):
            bind_together(bound(sockets[0], ANY), 2)
        with pytest.raises(UnavailableError):
            bind(bound(sockets[0], ANY))


def test_where_one_socket_of_a_port_cannot_be_had_none_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    listening = public._listening

    def third_fails(endpoint: Endpoint, *, joins: bool, shares: bool) -> socket.socket:
        if len(made) == 2:
            raise UnavailableError("no more descriptors")
        made.append(listening(endpoint, joins=joins, shares=shares))
        return made[-1]

    monkeypatch.setattr(public, "_listening", third_fails)
    with pytest.raises(UnavailableError):
        bind_together(ANY, 3)
    assert [found.fileno() for found in made] == [-1, -1]
