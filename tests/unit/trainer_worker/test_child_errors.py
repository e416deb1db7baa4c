"""What an exception in a training process says about another attempt."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# A kind of job that does nothing but fail.
FAILING = """
import sys, types
module = types.ModuleType("failing")
def run(text, control):
    raise {raised}
module.run = run
sys.modules["failing"] = module
from trainer import child, kinds
kinds.MODULES["fail"] = "failing"
sys.exit(child.main())
"""


@pytest.mark.parametrize(
    ("raised", "kind", "reason"),
    [
        ("MemoryError()", "memory", "MemoryError: "),
        ("type('OutOfMemoryError', (RuntimeError,), {})('CUDA')", "memory", "MemoryError: CUDA"),
        ("OSError(5, 'Input/output error')", "unavailable", "Input/output error"),
        ("ValueError('a fault of ours')", "failed", "ValueError: a fault of ours"),
    ],
)  # fmt: skip
def test_what_may_go_better_next_time_is_told_from_what_will_not(
    raised: str, kind: str, reason: str
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FAILING.replace("{raised}", raised)],
        input='{"kind": "fail"}\n',
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    error = json.loads(ran.stdout)
    assert error["type"] == "error"
    assert error["kind"] == kind
    assert reason in error["reason"]
    assert "Traceback" in ran.stderr
