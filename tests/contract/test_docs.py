"""The documentation says what is there: links, targets, methods, settings."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|\n)make ([a-z-]+)", page.read_text()))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_examples_are_python(page: Path) -> None:
    for example in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        ast.parse(example)


def test_every_decision_is_listed() -> None:
    decisions = ROOT / "docs/adr"
    listed = set(re.findall(r"\]\((\d{4}-.*?)\)", (decisions / "README.md").read_text()))
    assert listed == {page.name for page in decisions.glob("[0-9]*.md")}
