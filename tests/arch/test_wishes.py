"""The table of wishes that ends the store's document: each row names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "zqlite.md").read_text().rpartition("\n## ")[2]
ROWS = [re.split(r"\s*(?<!\\)\|\s*", line)[1:-1] for line in TABLE.splitlines() if line.startswith("|")][2:]


def test_the_document_ends_with_it() -> None:
    assert TABLE.startswith("Wishes\n")
    assert len(ROWS) > 40


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_wish_is_fulfilled_and_tested_or_later(row: list[str]) -> None:
    _, how, test = row
    if how == "later":
        assert test == ""
        return
    path, _, name = test.strip("`").partition("::")
    defined = re.split(r"[\[:]", name)[0]
    assert re.search(rf"\b{re.escape(defined)}\b", (ROOT / path).read_text())
