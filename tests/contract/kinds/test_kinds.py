"""Every method on every kind of model answers, or refuses with the way out, as the page says."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.contract.kinds.kinds import KINDS
from tests.contract.kinds.table import (
    BEGIN,
    CURE,
    END,
    NO,
    PAGE,
    Cell,
    all_cells,
    open_kinds,
    written,
)

Cells = Mapping[tuple[str, str], Cell]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    return all_cells(open_kinds(str(tmp_path_factory.mktemp("kinds"))))


def test_the_page_says_what_happens(cells: Cells) -> None:
    _, _, rest = PAGE.read_text().partition(BEGIN)
    told = rest.partition(END)[0].strip()
    assert told == written(cells), "run: .venv/bin/python -m tests.contract.kinds.table"


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_says_what_works_instead(kind: str, cells: Cells) -> None:
    refused = {m: cell.refusal for (m, k), cell in cells.items() if k == kind and cell.answer == NO}
    assert {method: said for method, said in refused.items() if not CURE.search(said)} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_is_left_without_an_explanation(kind: str, cells: Cells) -> None:
    assert any(c.answer != NO for (_, name), c in cells.items() if name == kind)
    assert cells["kernel_shap", kind].answer != NO
