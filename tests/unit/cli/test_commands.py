"""What the commands do before they reach a server, and without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from wintergarden.cli.app import app
from wintergarden.cli.output import jsonable
from wintergarden.client import JobState, Picture

ROOT = Path(__file__).parents[3]
COMMANDS = [
    ["up"],
    ["demo"],
    ["doctor"],
    ["train"],
    ["tune"],
    ["data", "upload"],
    ["data", "list"],
    ["data", "show"],
    ["data", "delete"],
    ["jobs", "list"],
    ["jobs", "show"],
    ["jobs", "watch"],
    ["jobs", "result"],
    ["jobs", "cancel"],
    ["jobs", "pause"],
    ["jobs", "resume"],
    ["jobs", "clone"],
    ["jobs", "workers"],
    ["search"],
    ["models", "list"],
    ["models", "show"],
    ["models", "import"],
    ["models", "delete"],
    ["models", "label"],
    ["infer"],
    ["generate"],
    ["explain"],
    ["attack"],
    ["robustness"],
    ["harden"],
]


def wintergarden(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "wintergarden", *arguments],
        cwd=ROOT,
        env={**os.environ, "WINTERGARDEN_ADDRESS": "127.0.0.1:1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_teaches_by_example_and_speaks_json(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"], terminal_width=120)
    assert result.exit_code == 0
    assert f"  wintergarden {' '.join(command)}" in result.output
    assert "--json" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs", "frobnicate"],
        ["train", "lenet5"],
        ["train", "lenet5", "mnist-5k", "--set", "epochs"],
        ["data", "upload", "/no/such/file.csv"],
        ["data", "upload", __file__, "--resize", "32"],
        ["infer", "m", "/no/such/file.npy"],
        ["attack", "m", __file__, "--set", "steps"],
        ["attack", "m", __file__, "--norm", "l3"],
        ["explain", "m", __file__, "--grid", "7by7"],
        ["up", "--port", "70000"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_no_server_is_one_line_with_the_cure_and_status_1() -> None:
    ran = wintergarden("jobs", "list", "--json")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1
    assert "nothing answers at 127.0.0.1:1; start the system with `wintergarden up`" in ran.stderr


def test_the_doctor_gives_one_json_document(tmp_path: Path) -> None:
    ran = wintergarden("doctor", "--json", "--home", str(tmp_path / "new"))
    findings = {finding["check"]: finding for finding in json.loads(ran.stdout)}
    assert findings["python"]["verdict"] == "ok"
    assert findings["data"]["verdict"] == "ok"
    assert findings["address"] == {
        "check": "address",
        "verdict": "note",
        "text": "nothing answers at 127.0.0.1:1",
        "cure": "wintergarden up",
    }
    assert ran.returncode == any(finding["verdict"] == "bad" for finding in findings.values())


def test_the_doctor_finds_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    if os.getuid() == 0:
        home = "/proc/wintergarden"
    else:
        tmp_path.chmod(0o500)
        home = str(tmp_path / "home")
    ran = wintergarden("doctor", "--home", home)
    assert ran.returncode == 1
    assert "cannot be written" in ran.stdout


def test_importing_the_command_line_loads_no_room_and_no_heavy_library() -> None:
    heavy = ("torch", "onnx", "onnxruntime", "celery", "redis", "pydantic", "matplotlib", "PIL")
    code = f"import sys, wintergarden.cli.app; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_json_is_made_of_jsons_own_types() -> None:
    @dataclass(frozen=True)
    class Thing:
        when: datetime
        state: JobState
        array: np.ndarray
        nothing: float

    thing = Thing(
        datetime(2026, 1, 2, tzinfo=UTC), JobState.QUEUED, np.eye(2, dtype=np.float32), np.nan
    )
    assert jsonable(thing) == {
        "when": "2026-01-02T00:00:00+00:00",
        "state": "queued",
        "array": [[1.0, 0.0], [0.0, 1.0]],
        "nothing": None,
    }
    assert jsonable(Picture("a.png", "image/png", b"x")) == {
        "name": "a.png",
        "media_type": "image/png",
    }


def test_a_picture_is_saved_nowhere_but_in_its_directory(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    assert Picture("../../evil.png", "image/png", b"x").save(inside) == inside / "evil.png"
    assert Picture("a.png", "image/png", b"x").save(tmp_path / "b.png").read_bytes() == b"x"
