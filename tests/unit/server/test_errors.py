"""Every error has a place in the table."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import ghostwire
from ghostwire.errors import GhostwireError, ResourceExhaustedError
from ghostwire.server.errors import STATUS, status_of, status_of_code


def every_error(root: type[GhostwireError] = GhostwireError) -> Iterator[type[GhostwireError]]:
    yield root
    for kind in root.__subclasses__():
        yield from every_error(kind)


def test_no_error_is_unmapped_and_codes_are_unique() -> None:
    for module in pkgutil.walk_packages(ghostwire.__path__, "ghostwire."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    kinds = [kind for kind in every_error() if kind.__module__.startswith("ghostwire")]
    own = [kind for kind in kinds if "code" in vars(kind) and kind is not GhostwireError]
    assert [kind for kind in own if kind not in STATUS] == []
    assert len({kind.code for kind in own}) == len(own)
    for kind in kinds:
        status = status_of(kind("text"))
        assert 400 <= status.http < 600
        assert status.ws in (1002, 1011, 1013) or 4000 <= status.ws < 5000
        assert 1 <= status.grpc <= 16


def test_a_code_finds_its_row() -> None:
    assert status_of_code("resource_exhausted") == STATUS[ResourceExhaustedError]
    assert status_of_code("nonsense").http == 500
