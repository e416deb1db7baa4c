from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wintergarden.runtime import describe_runtime


def test_the_runtime_in_use_is_described() -> None:
    description = describe_runtime()
    assert description["error"] is None
    assert len(description["packages"]) == 1
    assert "CPUExecutionProvider" in description["available_providers"]
    assert description["threads"] >= 1


def test_two_packages_in_one_environment_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnxruntime", "onnxruntime_gpu"):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    error = describe_runtime()["error"]
    assert error.startswith("onnxruntime and onnxruntime-gpu are both installed")


def test_a_machine_without_onnxruntime_can_import_and_describe_it() -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None;"
        "from wintergarden.runtime import describe_runtime; print(describe_runtime()['error'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "install wintergarden[cpu]" in done.stdout
