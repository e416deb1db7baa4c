"""The import law of `pyproject.toml` holds, and each of its contracts catches a breach."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("wintergarden", "services", "trainer", "gateway")

# contract -> a file and the line planted in it
BREACHES = {
    "Rooms never import one another": [
        ("services/inference", "import trainer"),
        ("services/explanation", "import services.inference"),
        ("gateway", "import services.inference"),
        ("trainer", "import gateway"),
    ],
    "wintergarden imports no room": [("wintergarden/cli", "import trainer")],
    "torch only under trainer": [
        ("services/inference", "import torch"),
        ("wintergarden/store", "import torch.nn"),
        ("gateway", "import torch"),
    ],
    "redis only under wintergarden.jobs": [
        ("gateway", "import redis"),
        ("wintergarden/client", "import redis"),
    ],
    "celery only under wintergarden.jobs and wintergarden.worker": [
        ("gateway", "import celery"),
        ("wintergarden/service", "import celery"),
        ("trainer", "import celery"),
    ],
    "onnxruntime only under wintergarden.runtime": [
        ("services/inference", "import onnxruntime"),
        ("trainer", "import onnxruntime"),
        ("wintergarden/store", "import onnxruntime"),
    ],
    "The SDK stands on the wire alone": [("wintergarden/client", "import wintergarden.store")],
}


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as c; c()",
            "--no-cache",
        ],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for room in ROOMS:
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def test_the_tree_keeps_the_law(tree: Path) -> None:
    linted = lint_imports(tree)
    assert linted.returncode == 0, linted.stdout


def test_every_contract_is_tried() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    assert set(BREACHES) == {contract["name"] for contract in contracts}


@pytest.mark.parametrize(
    ("contract", "package", "line"),
    [(contract, *breach) for contract, breaches in BREACHES.items() for breach in breaches],
)
def test_a_planted_breach_is_caught(tree: Path, contract: str, package: str, line: str) -> None:
    planted = tree / package / "planted.py"
    planted.write_text(f"{line}\n")
    try:
        linted = lint_imports(tree)
    finally:
        planted.unlink()

    assert linted.returncode != 0
    assert f"{contract} BROKEN" in linted.stdout
    assert "planted" in linted.stdout
