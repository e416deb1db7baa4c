"""A user's own file, from the shell: uploaded, prepared, trained on, served."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest

from wintergarden.client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
NAME = f"flowers-{uuid.uuid4().hex[:8]}"


def shell(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wintergarden", *arguments, "--address", address],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fisher's irises (1936) as people have them, with a value missing."""
    from sklearn.datasets import load_iris

    bunch = load_iris()
    rows = [
        f"{','.join(map(str, x))},{bunch.target_names[y]}"
        for x, y in zip(bunch.data, bunch.target, strict=True)
    ]
    rows[7] = "," + rows[7].partition(",")[2]
    path = tmp_path_factory.mktemp("flowers") / "flowers.csv"
    path.write_text("\n".join(["sepal,width,petal,breadth,species", *rows]) + "\n")
    return path


def test_from_a_file_to_answers(client: Client, address: str, flowers: Path) -> None:
    refused = shell(address, "data", "upload", str(flowers), "--name", NAME, "--label", "species")
    assert refused.returncode == 1
    assert "values are missing (empty or NaN) in sepal in 1 of 150 examples" in refused.stderr

    uploaded = shell(
        address, "data", "upload", str(flowers), "--name", NAME, "--label", "species", "--impute"
    )
    assert uploaded.returncode == 0, uploaded.stderr
    advice = f"wintergarden train linear {NAME} (or mlp"
    for line in ("setosa", "1 missing values were filled in", advice):
        assert line in uploaded.stdout

    trained = shell(address, "train", "mlp", NAME, "--set", "epochs=150", "--json")
    assert trained.returncode == 0, trained.stderr
    job = json.loads(trained.stdout.splitlines()[-1])
    assert job["metrics"]["test_accuracy"] >= 0.8

    setosa = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)
    answer = client.infer(f"mlp-{NAME}", setosa)["probabilities"]
    described = client.data.describe(NAME)
    assert described.class_labels[int(answer.argmax())] == "setosa"
    lineage = client.models.describe(f"mlp-{NAME}").manifest["lineage"]
    assert lineage["dataset_digest"] == described.digest

    assert NAME in shell(address, "data", "list").stdout
    deleted = shell(address, "data", "delete", NAME, "--yes", "--json")
    assert json.loads(deleted.stdout) == {"name": NAME, "digest": described.digest}
