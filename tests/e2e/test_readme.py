"""The README's requests, sent as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

README = (Path(__file__).parents[2] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def answers(address: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each example prints, run in order and each in a process of its own."""
    return [
        subprocess.run(
            [sys.executable, "-c", example.replace("127.0.0.1:8500", address)],
            cwd=tmp_path_factory.mktemp("elsewhere"),
            capture_output=True,
            text=True,
            check=True,
            timeout=200,
        ).stdout
        for example in EXAMPLES
    ]


def test_ours(answers: list[str]) -> None:
    state, probabilities, explanation = answers[0].splitlines()
    assert state == "succeeded"
    assert sum(map(float, probabilities.strip("[]").split())) == pytest.approx(1, abs=0.02)
    assert explanation.startswith("(1, 13)")


def test_tritons(answers: list[str]) -> None:
    assert len(answers[1].strip("[] \n").split()) == 3
