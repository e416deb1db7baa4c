"""onnx's own `light_*` networks: nine famous architectures of opset 9, their weights all alike.

Such weights have no slope worth measuring, so each network is also tried with weights drawn after
He et al. 2015. Every operator of every one of them has a backward rule, after the converter lifted
the file.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx import numpy_helper

from services.explanation.backprop import cotangent_name, differentiate, gradient_name
from services.explanation.heads import exposing
from tests.contract.foreign.directions import median_error, session_of

FOLDER = Path(onnx.backend.test.__file__).parent / "data" / "light"
NAMES = sorted(path.stem for path in FOLDER.glob("*.onnx"))
QUICK = frozenset({"light_squeezenet", "light_shufflenet"})
"""The others take seconds of multiplications each."""

MEDIAN_ERROR = 0.1
"""Noise through millions of rectifiers and maxima of untrained networks: at every step some turn,
which leaves differences a few per cent off (1.8 % AlexNet, 3.6 % SqueezeNet, 2.7 % ShuffleNet)."""

VANISHING = frozenset({"light_densenet121", "light_inception_v2"})
"""Running statistics that are not theirs leave slopes of 1e-6, less than float32 tells apart."""

soak = pytest.mark.skipif(
    not os.environ.get("WINTERGARDEN_SOAK"),
    reason="minutes of multiplications: WINTERGARDEN_SOAK=1",
)


def load(name: str) -> tuple[onnx.ModelProto, str, np.ndarray]:
    """The model, its input and an image of noise."""
    model = onnx.load_model(FOLDER / f"{name}.onnx")
    constants = {tensor.name for tensor in model.graph.initializer}
    (image,) = (v for v in model.graph.input if v.name not in constants)
    shape = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    return model, image.name, np.random.default_rng(0).random(shape, np.float32)


def with_drawn_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Each constant tensor drawn: matrices and kernels after He, vectors near nothing."""
    rng = np.random.default_rng(1)
    sizes = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in model.graph.node]
    is_positive = {n.input[i] for n in nodes if n.op_type == "BatchNormalization" for i in (1, 4)}
    reshaped = {n.output[0]: n.input[0] for n in nodes if n.op_type in ("Unsqueeze", "Reshape")}
    factors = {reshaped.get(i, i) for n in nodes if n.op_type == "Mul" for i in n.input}
    is_positive |= factors  # Caffe's Scale; near nothing they would leave nothing
    model.ir_version = max(model.ir_version, 4)  # from which constants need not be inputs
    kept = []
    for node in nodes:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        (name,), shape = node.output, sizes[node.input[0]]
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 0
        drawn = rng.standard_normal(shape) * (np.sqrt(2 / fan_in) if fan_in else 0.1)
        drawn = np.abs(drawn) + 0.5 if name in is_positive else drawn
        model.graph.initializer.append(numpy_helper.from_array(drawn.astype(np.float32), name))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def test_there_are_nine() -> None:
    assert len(NAMES) == 9


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=soak) for n in NAMES])
def test_it_is_differentiated_and_goes_on_answering_as_it_did(name: str) -> None:
    model, source, x = load(name)
    output = model.graph.output[0].name
    (value,) = session_of(model).run([output], {source: x})
    feeds = {source: x, cotangent_name(output): np.ones_like(value)}
    derived = session_of(differentiate(model, source, output=output))
    answer, slope = derived.run([output, gradient_name(source)], feeds)
    np.testing.assert_allclose(answer, value, rtol=1e-4, atol=1e-6)
    assert slope.shape == x.shape
    assert np.isfinite(slope).all()


@soak
@pytest.mark.parametrize("name", [name for name in NAMES if name not in VANISHING])
def test_with_drawn_weights_its_gradient_is_the_slope(name: str) -> None:
    model, source, x = load(name)
    model = with_drawn_weights(model)
    output = model.graph.output[0].name
    squashed = [n.input[0] for n in model.graph.node if n.op_type == "Softmax"]
    scores = squashed[-1] if squashed else output
    error = median_error(exposing(model, scores), source, scores, {source: x - 0.5}, batch=1)
    print(f"{name}: median error {error:.2e}")
    assert error <= MEDIAN_ERROR
