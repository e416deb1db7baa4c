"""Fixtures and manners of every test. What tests import lives in `wintergarden.service.testing`."""

from __future__ import annotations

import os
import random
import sys
from typing import Any

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


WHOLE_SYSTEMS = (
    "tests/chaos/",
    "tests/e2e/",
    "tests/contract/gateway/test_gateway_restart.py",
    "tests/contract/test_explanation_jobs.py",
    "tests/contract/test_search.py",
    "tests/contract/test_trainer_child.py",
    "tests/contract/test_trainer_interrupted.py",
    "tests/contract/test_worker_jobs.py",
)
"""Files that start many processes: two at once would each wait for the other."""

LONG = ("tests/unit/trainer/test_distributed.py", "tests/unit/trainer_worker/test_worker.py")
"""Files that would come last of all, and be waited for by everybody."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole files stay together, and those of whole systems run one after another in a process."""
    from xdist.scheduler import LoadScopeScheduling

    class OneSystemAtATime(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "whole systems" if _is_whole(nodeid) else nodeid.partition("::")[0]

    return OneSystemAtATime(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole systems come first, since they take the longest; then the other long files."""
    items.sort(key=lambda item: (not _is_whole(item.nodeid), not item.nodeid.startswith(LONG)))


def _is_whole(nodeid: str) -> bool:
    return nodeid.startswith(WHOLE_SYSTEMS)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
