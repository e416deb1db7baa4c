"""Kernel SHAP against shap's KernelExplainer: the same model, rows, players and evaluations.

Both take turns in one run, so that what else the machine does hits both; only ratios are asserted.
"""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from services.explanation.attributions.game import Game
from services.explanation.attributions.kernel_shap import kernel_shap
from services.explanation.attributions.players import Players
from wintergarden.runtime import RuntimeOptions, open_session

pytestmark = [pytest.mark.bench, pytest.mark.filterwarnings("ignore")]
ROUNDS = 5


@dataclass(frozen=True)
class Workload:
    name: str
    network: nn.Module
    shape: tuple[int, ...]
    players: Players
    rows: int
    background_rows: int
    coalitions: int


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 2))


IMAGE = (1, 28, 28)
SUPERPIXELS = Players.grid(IMAGE, 7, 7)
FEATURES = Players.features((30,))
WORKLOADS = [
    Workload("LeNet, 49 superpixels, 16 rows", lenet(), IMAGE, SUPERPIXELS, 16, 1, 2048),
    Workload("LeNet, 49 superpixels, 1 row", lenet(), IMAGE, SUPERPIXELS, 1, 1, 2048),
    Workload("MLP, 30 features, 16 rows", mlp(), (30,), FEATURES, 16, 1, 2048),
    Workload("MLP, 30 features, 16 rows, 20 background", mlp(), (30,), FEATURES, 16, 20, 2048),
]  # fmt: skip


def predictor(network: nn.Module, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    file = io.BytesIO()
    torch.onnx.export(
        network.eval(), (torch.zeros(2, *shape),), file, input_names=["x"],
        dynamic_axes={"x": {0: "batch"}}, dynamo=False,
    )  # fmt: skip
    session = open_session(file.getvalue(), RuntimeOptions(device="cpu"))
    return lambda x: session.run({"x": x})[0]


def test_faster_than_shap_at_equal_evaluations() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap  # noqa: F401  its import is not measured
    ratios = [times_shaps_speed(load) for load in WORKLOADS]
    overall = float(np.exp(np.mean(np.log(ratios))))
    print(f"geometric mean {overall:.1f} ×")
    assert min(ratios) >= 2.5


def times_shaps_speed(load: Workload) -> float:
    import shap

    predict = predictor(load.network, load.shape)
    rng = np.random.default_rng(0)
    rows = rng.random((load.rows, *load.shape), np.float32)
    background = rng.random((load.background_rows, *load.shape), np.float32)
    owner = load.players.assignment
    spent = {"ours": 0, "shap": 0}

    def ours() -> None:
        game = Game(predict, load.players, background)
        budget = load.coalitions * load.background_rows
        spent["ours"] = kernel_shap(game, rows, max_evaluations=budget).evaluations

    def theirs() -> None:
        """Superpixels as shap's users do it: the mask is the row, the image is mixed in f."""
        spent["shap"] = 0
        for row in rows:

            def mixed(z: np.ndarray, row: np.ndarray = row) -> np.ndarray:
                spent["shap"] += len(z)
                if load.players is FEATURES:
                    return predict(z.astype(np.float32))
                return predict(np.where(z.astype(bool)[:, owner], row, background[0]))

            if load.players is FEATURES:
                explainer, x = shap.KernelExplainer(mixed, background), row[None]
            else:
                explainer = shap.KernelExplainer(mixed, np.zeros((1, load.players.count)))
                x = np.ones((1, load.players.count))
            explainer.shap_values(x, nsamples=load.coalitions - 2, l1_reg=False, silent=True)

    times: dict[str, list[float]] = {"ours": [], "shap": []}
    for _ in range(ROUNDS):
        for name, run in (("ours", ours), ("shap", theirs)):
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    ours_s, shap_s = (float(np.median(times[name])) for name in ("ours", "shap"))
    ratio = shap_s / ours_s
    print(
        f"\n{load.name}: ours {1e3 * ours_s / load.rows:.1f} ms a row ({spent['ours']} model rows),"
        f" shap {1e3 * shap_s / load.rows:.1f} ms ({spent['shap']}): {ratio:.1f} ×"
    )
    return ratio
