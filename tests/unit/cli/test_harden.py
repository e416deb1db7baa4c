"""What can be trained once more, adversarially, and what the rest is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from wintergarden.cli.robustness import training_of
from wintergarden.client import ModelVersion
from wintergarden.errors import Unsupported


def version(**manifest: Any) -> ModelVersion:
    return ModelVersion("net", 1, "", manifest, datetime.now(UTC), is_verified=True)


def test_what_was_trained_here_is_trained_again_alike() -> None:
    trained = version(
        architecture="lenet5",
        lineage={"dataset": "digits", "seed": 1},
        hyperparameters={"epochs": 3, "adversarial_epsilon": 0.0},
    )
    assert training_of(trained) == {"epochs": 3, "adversarial_epsilon": 0.0}


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        ({}, "was not trained here"),
        ({"architecture": "lenet5", "lineage": None}, "was not trained here"),
        (
            {"architecture": "mlp", "lineage": {"dataset": "wine"}, "hyperparameters": {"l2": 0}},
            "mlp is not trained adversarially; image classifiers are",
        ),
    ],
)
def test_what_cannot_be_is_refused(manifest: dict[str, Any], told: str) -> None:
    with pytest.raises(Unsupported, match=told):
        training_of(version(**manifest))
