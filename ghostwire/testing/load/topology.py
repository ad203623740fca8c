"""The network that is simulated: which node carries which tag, and a policy that gives each the same number of peers.

Nodes are tagged machines in *cells* of `visible + 1`, each cell in a few classes; two rules a node let every class of a
cell reach every other on some ports, so a node sees its cell and nothing else. The first node is the *hub*: one service
that up to 10,000 nodes see.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

HUB: Final = 0
HUB_TAG: Final = "tag:hub"
AUDIENCE: Final = 10_000
"""Nodes that see the hub, as far as there are so many."""
RULES_A_NODE: Final = 2.0
PORTS: Final = ("22", "443", "5432", "8000-8080")
EXTRA_PORT: Final = 9999
"""What an edited policy opens."""


@dataclass(frozen=True, slots=True)
class Topology:
    """`nodes` nodes, each with about `visible` peers, under about so many rules for each."""

    nodes: int
    visible: int
    rules_a_node: float = RULES_A_NODE

    @property
    def cell_size(self) -> int:
        """Nodes of one cell."""
        return self.visible + 1

    @property
    def cells(self) -> int:
        """How many cells there are. The last one may be smaller, or have a node more: none is alone."""
        whole, rest = divmod(self.nodes - 1, self.cell_size)
        return max(1, whole + (rest > 1))

    @property
    def classes_a_cell(self) -> int:
        """So many that the rules cover each pair of classes once a port."""
        return max(1, math.isqrt(int(self.rules_a_node * self.cell_size) // len(PORTS)))

    @property
    def audience(self) -> int:
        """How many nodes see the hub: whole cells."""
        cells = self._audience_cells
        return self.nodes - 1 if cells == self.cells else cells * self.cell_size

    def tag(self, node: int) -> str:
        """The tag of a node by its number."""
        if node == HUB:
            return HUB_TAG
        cell, place = self._place(node)
        return _tag(cell, place % self.classes_a_cell)

    def neighbour(self, node: int) -> int:
        """Another node of the same cell."""
        _, place = self._place(node)
        return node - 1 if place else node + 1

    def tags(self) -> list[str]:
        """Every class but the hub's, in order."""
        return [_tag(cell, number) for cell in range(self.cells) for number in range(self.classes_a_cell)]

    def policy(self, opened: Iterable[str] = ()) -> str:
        """The policy's text. Each class of `opened` may also reach itself on one more port."""
        tags = self.tags()
        audience = tags[: self._audience_cells * self.classes_a_cell]
        rules = [*self._rules(), _rule(audience, HUB_TAG, "443")]
        rules += [_rule([tag], tag, str(EXTRA_PORT)) for tag in opened]
        owners = {tag: ["autogroup:admin"] for tag in [HUB_TAG, *tags]}
        return json.dumps({"tagOwners": owners, "acls": rules}, separators=(",", ":"))

    def _place(self, node: int) -> tuple[int, int]:
        """A node's cell, and its number there."""
        cell = min((node - 1) // self.cell_size, self.cells - 1)
        return cell, node - 1 - cell * self.cell_size

    @property
    def _audience_cells(self) -> int:
        return min(self.cells, math.ceil(AUDIENCE / self.cell_size))

    def _rules(self) -> Iterator[dict[str, Any]]:
        classes = range(self.classes_a_cell)
        for cell in range(self.cells):
            for source in classes:
                for destination in classes:
                    for port in PORTS:
                        yield _rule([_tag(cell, source)], _tag(cell, destination), port)


def _tag(cell: int, number: int) -> str:
    return f"tag:c{cell}-{number}"


def _rule(sources: list[str], destination: str, port: str) -> dict[str, Any]:
    return {"action": "accept", "src": sources, "dst": [f"{destination}:{port}"]}
