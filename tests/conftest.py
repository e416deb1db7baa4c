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


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
