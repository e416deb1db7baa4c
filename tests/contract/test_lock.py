"""`constraints.txt` locks everything `pyproject.toml` asks for, at versions it allows."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKED = {
    canonicalize_name(pin.name): pin.specifier
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
    for pin in [Requirement(line)]
}
ASKED = [
    requirement
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for line in lines
    if (requirement := Requirement(line)).name != PROJECT["name"]
]


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_what_is_asked_for_is_locked(asked: Requirement) -> None:
    (pin,) = LOCKED[canonicalize_name(asked.name)]

    assert pin.operator == "=="
    assert asked.specifier.contains(pin.version), f"locked {pin}; run `make lock`"


def test_both_builds_of_onnx_runtime_are_one_version() -> None:
    assert LOCKED["onnxruntime"] == LOCKED["onnxruntime-gpu"]
