"""Each room starts on its own extra alone, as in its image; torch is in the trainer's only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.environments, pytest.mark.xdist_group("rooms")]

# room -> extras of its image, and what must not come with them
ROOMS = {
    "services.inference": (
        "inference,cpu",
        {"torch", "celery", "redis", "matplotlib", "onnxscript"},
    ),
    "services.explanation": ("explanation,cpu", {"torch", "celery", "redis", "onnxscript"}),
    "gateway": ("gateway", {"torch", "onnxruntime", "matplotlib", "onnxscript"}),
    "trainer": ("trainer,cpu", {"jsonschema", "shap", "captum"}),
}
# Every module of the room, and with them all that they need of `wintergarden`.
IMPORT_ALL = """
import importlib, pkgutil, sys
room = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_starts_on_its_own_extra(room: str, environment: Callable[..., Any]) -> None:
    extras, absent = ROOMS[room]
    own = environment(extras)

    assert {module for module in absent if own.has(module)} == set()
    own.run("python", "-c", IMPORT_ALL, room)
    assert "usage" in own.run("python", "-m", room, "--help").lower()
