"""A model of each exporter: imported, served, answering as its framework does, and explained.

`exported/` was made by `make_exported.py`; each NAME.npz holds what the framework itself answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

import wintergarden
from services.explanation.app import create_app as explanation_app
from services.explanation.settings import ExplanationSettings
from services.inference.app import create_app as inference_app
from services.inference.settings import InferenceSettings
from tests.contract.foreign.directions import MEDIAN_ERROR, median_error
from wintergarden.client import Client
from wintergarden.errors import Unsupported
from wintergarden.store import open_store

FOLDER = Path(__file__).parent / "exported"


@dataclass(frozen=True)
class Exported:
    """What a file is, and what must be true of it.

    Attributes:
        output: The one that is explained.
        refusal: Why no gradient is taken; "" where there are gradients.
        is_attackable: There are logits.
    """

    output: str
    refusal: str = ""
    is_attackable: bool = False


FILES = {
    "torch_dynamo": Exported("logits", is_attackable=True),
    "torch_script": Exported("logits", is_attackable=True),
    "keras_cnn": Exported("Identity:0", is_attackable=True),
    "keras_gru": Exported("Identity:0", r"Loop \(node '.*while_loop'\)"),
    "sklearn_mlp_classifier": Exported("probabilities", is_attackable=True),
    "sklearn_mlp_regressor": Exported("variable"),
    "sklearn_logistic_regression": Exported("probabilities"),
    "sklearn_forest": Exported("probabilities", r"ai\.onnx\.ml\.TreeEnsembleClassifier"),
    "sklearn_boosted_trees": Exported("variable", r"ai\.onnx\.ml\.TreeEnsembleRegressor"),
}
NAMES = sorted(FILES)
DIFFERENTIABLE = [name for name in NAMES if not FILES[name].refusal]


def expected(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and the framework's answers."""
    with np.load(FOLDER / f"{name}.npz") as kept:
        return kept["rows"].astype(np.float32), kept["answers"]


@dataclass(frozen=True)
class Rooms:
    inference: Client
    explanation: Client


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rooms]:
    """Both services on one store that every file was imported into."""
    uri = str(tmp_path_factory.mktemp("store"))
    store = open_store(uri)
    for name in NAMES:
        span = (0.0, 1.0) if expected(name)[0].ndim == 4 else None
        store.import_onnx(name, (FOLDER / f"{name}.onnx").read_bytes(), value_range=span)
    common = {"address": "127.0.0.1:0", "store_uri": uri, "metrics_address": None}
    apps = (
        inference_app(InferenceSettings(**common, device="cpu")),
        explanation_app(ExplanationSettings(**common)),
    )
    with ExitStack() as stack:
        for app in apps:
            app.start()
            stack.callback(app.stop, 1)
        clients = [wintergarden.connect(f"127.0.0.1:{app.server.ports[0]}") for app in apps]
        yield Rooms(*clients)


def test_every_file_is_tried() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.onnx")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_is_served_and_answers_as_its_framework_does(name: str, rooms: Rooms) -> None:
    """Within the rounding of float32: 1e-5 of the largest answer, as scikit-learn is in float64."""
    rows, answers = expected(name)
    found = rooms.inference.infer(name, rows)[FILES[name].output]
    scale = max(1.0, float(np.abs(answers).max()))
    np.testing.assert_allclose(found.reshape(answers.shape), answers, atol=1e-5 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_explained_without_gradients(name: str, rooms: Rooms) -> None:
    rows, _ = expected(name)
    answer = rooms.explanation.explain(
        name, rows[:1], output_name=FILES[name].output, background=rows[1:2]
    )
    assert answer.attributions.shape == rows[:1].shape
    np.testing.assert_allclose(answer.efficiency_gaps, 0, atol=1e-5)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_its_gradient_is_the_slope_of_what_is_served(name: str) -> None:
    """Between two examples, where no class is certain, and a little aside, where nothing ties."""
    model = onnx.load_model(FOLDER / f"{name}.onnx")
    rows, _ = expected(name)
    spread = rows.std(axis=0) if rows.ndim == 2 else np.float64(rows.std())
    aside = 0.2 * spread * np.random.default_rng(0).standard_normal(rows[:1].shape)
    between = (rows[:3].mean(axis=0, keepdims=True) + aside).astype(np.float32)
    (source,) = (value.name for value in model.graph.input)
    error = median_error(model, source, FILES[name].output, {source: between}, spread=spread)
    assert error <= MEDIAN_ERROR


@pytest.mark.parametrize("name", NAMES)
def test_it_is_explained_by_gradients_or_told_what_works(name: str, rooms: Rooms) -> None:
    rows, _ = expected(name)
    file = FILES[name]

    def explained(method: str) -> wintergarden.client.Explanation:
        return rooms.explanation.explain(
            name, rows[:2], method, output_name=file.output, background=rows[2:3]
        )

    if file.refusal:
        with pytest.raises(Unsupported, match=f"{file.refusal}.*kernel_shap"):
            explained("saliency")
        return
    assert explained("saliency").attributions.shape == rows[:2].shape
    for method in ("integrated_gradients", "deep_shap"):
        answer = explained(method)
        # Black pixels are ties all along the line: 1024 points leave a little more than 1e-3.
        limit = 5e-3 if method == "integrated_gradients" else 1e-5
        change = np.maximum(1, np.abs(answer.outputs - answer.base_values))
        assert (np.abs(answer.efficiency_gaps) <= limit * change).all()


@pytest.mark.parametrize("name", [n for n in NAMES if FILES[n].is_attackable])
def test_it_is_attacked_at_its_logits(name: str, rooms: Rooms) -> None:
    rows, _ = expected(name)
    low, high = float(rows.min()), float(rows.max())
    answer = rooms.explanation.attack(
        name, rows, epsilon=0.3 * rows.std(axis=0).mean().item(), value_range=(low, high),
        output_name=FILES[name].output,
    )  # fmt: skip
    assert answer.output_name != FILES[name].output or "logits" in answer.output_name
    assert np.abs(answer.adversarial - rows).max() > 0
    assert any(answer.successes)


@pytest.mark.parametrize("method", ["square", "boundary"])
def test_a_forest_is_attacked_without_gradients(method: str, rooms: Rooms) -> None:
    """Wine in units of its own range; some bottles are taken for others."""
    rows, answers = expected("sklearn_forest")
    answer = rooms.explanation.attack(
        "sklearn_forest", rows, method, output_name="probabilities", value_range=(0, 2000),
        epsilon=300 if method == "square" else 0, parameters={"steps": 200},
    )  # fmt: skip
    assert answer.predictions_before == tuple(answers.argmax(axis=1))
    np.testing.assert_allclose(answer.confidences_before, answers.max(axis=1), atol=1e-5)
    assert any(answer.successes)
    if method == "square":
        assert (np.abs(answer.adversarial - rows) <= 300).all()


@pytest.mark.parametrize("name", ["keras_cnn", "torch_dynamo"])
def test_grad_cam_finds_the_places_of_an_image_whatever_its_layout(name: str, rooms: Rooms) -> None:
    """Keras' images are [H, W, C]; the map has one value at each pixel, for all channels."""
    rows, _ = expected(name)
    answer = rooms.explanation.explain(name, rows[:2], "grad_cam", output_name=FILES[name].output)
    assert answer.attributions.shape == rows[:2].shape
    squares = answer.attributions.reshape(2, 8, 8)
    assert (squares.max(axis=(1, 2)) > squares.min(axis=(1, 2))).all()
