"""`docs/methods.md` and the registry name the same methods, in the same words."""

from __future__ import annotations

import re
from pathlib import Path

from services.explanation.methods import METHODS

PAGE = Path(__file__).parents[2] / "docs/methods.md"


def test_the_page_lists_the_methods_there_are() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (attribution|attack) \| (yes|no) \|", PAGE.read_text(), re.MULTILINE
    )
    assert rows == [(m.name, m.kind, "yes" if m.needs_gradient else "no") for m in METHODS]


def test_every_method_names_its_paper_on_the_page() -> None:
    text = PAGE.read_text()
    for method in METHODS:
        (arxiv,) = re.findall(r"arXiv:\S+", method.source)
        assert arxiv in text
