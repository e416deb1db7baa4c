"""The committed descriptors and stubs are what `proto/` gives, and a stale one is named."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STALE = 1


def check(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [root / "tools/proto.sh"], capture_output=True, text=True, check=False, timeout=240
    )


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROTO_TOOLS", str(ROOT / ".tools/proto"))
    for folder in ("proto", "tools", "wintergarden/wire"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_committed_files_are_fresh() -> None:
    checked = check(ROOT)
    assert checked.returncode == 0, checked.stderr


def test_a_changed_proto_is_noticed(copy: Path) -> None:
    proto = copy / "proto/wintergarden/wire/training.proto"
    proto.write_text(
        proto.read_text().replace(
            "message GetJobRequest {", "message GetJobRequest {\n  bool x = 9;"
        )
    )

    checked = check(copy)

    assert checked.returncode == STALE
    assert "descriptors.binpb" in checked.stderr
    assert "training_pb2.pyi" in checked.stderr
    assert "generate.sh" in checked.stderr
