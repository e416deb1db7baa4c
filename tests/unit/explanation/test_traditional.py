"""Operators of ai.onnx.ml in ONNX's own: the same answers as ONNX Runtime's kernels, and slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from services.explanation.backprop import differentiate
from services.explanation.backprop.traditional import spell_out
from wintergarden.errors import Unsupported

RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal((3, 4))
X = RNG.standard_normal((5, 4)).astype(np.float32)


def model_of(operator: str, outputs: list[str], **attributes: Any) -> onnx.ModelProto:
    """One operator whose last output is scores [N, …]."""
    node = helper.make_node(operator, ["x"], outputs, domain="ai.onnx.ml", **attributes)
    kinds = [TensorProto.INT64] * (len(outputs) - 1) + [TensorProto.FLOAT]
    graph = helper.make_graph(
        [node],
        "by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info(o, k, None) for o, k in zip(outputs, kinds, strict=True)],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def classifier(after: str, **more: Any) -> onnx.ModelProto:
    return model_of(
        "LinearClassifier", ["label", "y"], coefficients=WEIGHTS.ravel().tolist(),
        intercepts=[0.1, -0.2, 0.3], classlabels_ints=[4, 5, 6], post_transform=after, **more,
    )  # fmt: skip


MODELS = {
    "scaler": model_of("Scaler", ["y"], offset=[1.0, 2.0, 3.0, 4.0], scale=[0.5, 2.0, -1.0, 3.0]),
    "scaler of one number": model_of("Scaler", ["y"], offset=[1.0], scale=[0.5]),
    "regressor": model_of(
        "LinearRegressor", ["y"], coefficients=WEIGHTS.ravel().tolist(), targets=3,
        intercepts=[1.0, 2.0, 3.0],
    ),
    "scores": classifier("NONE"),
    "softmax": classifier("SOFTMAX"),
    "sigmoids": classifier("LOGISTIC"),
    "lengths of one": model_of("Normalizer", ["y"], norm="L2"),
    "shares": model_of("Normalizer", ["y"], norm="L1"),
}  # fmt: skip


def run(model: onnx.ModelProto, **feeds: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_the_same_answers_as_the_runtimes_kernels(name: str) -> None:
    model = onnx.ModelProto.FromString(MODELS[name].SerializeToString())
    spelled = spell_out(model)
    assert [n.op_type for n in spelled.graph.node if n.domain] in ([], ["LinearClassifier"])
    rows = np.concatenate([X, np.zeros((1, 4), np.float32)])
    for output, values in run(MODELS[name], x=rows).items():
        np.testing.assert_allclose(run(spelled, x=rows)[output], values, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_slopes_are_those_of_the_runtimes_kernels(name: str) -> None:
    """All of these are smooth: central differences are good to 1e-3 in float32."""
    model, step = MODELS[name], 1e-2
    weights = RNG.standard_normal(run(model, x=X)["y"].shape).astype(np.float32)
    derived = differentiate(model, "x", output="y")
    slopes = run(derived, x=X, **{"y.cotangent": weights})["x.gradient"]
    for column in range(4):
        moved = step * (np.arange(4) == column).astype(np.float32)
        up, down = (run(model, x=X + sign * moved)["y"] * weights for sign in (1, -1))
        measured = (up - down).astype(np.float64).sum(axis=1) / (2 * step)
        np.testing.assert_allclose(slopes[:, column], measured, atol=2e-3)


def test_within_a_branch() -> None:
    """What is spelled out brings its constants along."""
    branches = {}
    for name in ("scaler", "regressor"):
        (node,) = MODELS[name].graph.node
        made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        branches[name] = helper.make_graph([node], name, [], made)
    choice = helper.make_node(
        "If", ["yes"], ["chosen"],
        then_branch=branches["scaler"], else_branch=branches["regressor"],
    )  # fmt: skip
    graph = helper.make_graph(
        [choice],
        "by_hand",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("yes", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, ["n", "m"])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    derived = differentiate(model, "x")
    for yes, weights in ((True, np.diag([0.5, 2.0, -1.0, 3.0])), (False, WEIGHTS)):
        cotangent = RNG.standard_normal((5, len(weights))).astype(np.float32)
        answers = run(derived, x=X, yes=np.array(yes), **{"chosen.cotangent": cotangent})
        np.testing.assert_allclose(answers["x.gradient"], cotangent @ weights, rtol=1e-4)


def test_what_chooses_stays_what_it_is() -> None:
    largest = model_of("Normalizer", ["y"], norm="MAX")
    with pytest.raises(Unsupported, match=r"ai\.onnx\.ml\.Normalizer.*kernel_shap"):
        differentiate(largest, "x", output="y")
