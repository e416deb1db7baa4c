"""Fixtures and manners of every test. What tests import lives in `wintergarden.service.testing`."""

from __future__ import annotations

import os
import random
import sys

# Before numpy, torch or ONNX Runtime are imported: the cores belong to the test processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# A loaded machine is no failing property.
settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("house")


WHOLE_SYSTEM = ("e2e", "chaos", "whole_system")
"""Marks of files that start a dozen processes: two at once would each wait for the other."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole files stay together, and those of whole systems run one after another, the first."""
    for item in items:
        is_whole = any(item.get_closest_marker(mark) for mark in WHOLE_SYSTEM)
        file = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(WHOLE_SYSTEM[-1] if is_whole else file))
    items.sort(key=lambda item: not any(item.get_closest_marker(mark) for mark in WHOLE_SYSTEM))


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
