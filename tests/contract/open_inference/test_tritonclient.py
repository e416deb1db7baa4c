"""tritonclient, unchanged, in a process of its own: its protobuf pins are not ours."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# Another interpreter that has tritonclient, where the one that runs the tests has not.
PYTHON = os.environ.get("WINTERGARDEN_TRITON_PYTHON", "")

CLIENT = Path(__file__).with_name("use_tritonclient.py")


@pytest.fixture(scope="module")
def python():
    if PYTHON:
        return PYTHON
    if importlib.util.find_spec("tritonclient") is None:
        pytest.fail("tritonclient is missing: install wintergarden[test]")
    return sys.executable


def test_a_user_of_triton_changes_the_address_and_nothing_else(served, python, tmp_path):
    x = np.random.default_rng(3).standard_normal((1000, 1, 4), np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    address = f"127.0.0.1:{served.app.server.ports[0]}"
    ran = subprocess.run(
        [python, CLIENT, address, tmp_path / "x.npz", tmp_path / "y.npz"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    session = served.world.session("classifier")
    with np.load(tmp_path / "y.npz") as answers:
        for i in range(1000):
            logits, probabilities = session.run({"x": x[i]})
            np.testing.assert_allclose(answers["logits"][i], logits, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(
                answers["probabilities"][i], probabilities, rtol=0, atol=1e-6
            )
