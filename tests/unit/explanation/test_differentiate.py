"""Whole networks: the served file's gradient against PyTorch's, and what cannot be done."""

from __future__ import annotations

import captum.attr
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from services.explanation.backprop import cotangent_name, differentiate, gradient_name
from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.runtime import RuntimeOptions, open_session


def run(model: onnx.ModelProto, **feeds: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def gradient(model: onnx.ModelProto, name: str, x: np.ndarray, weights: np.ndarray, **how: str):
    derived = differentiate(model, name, output="logits", **how)
    onnx.checker.check_model(derived, full_check=True)
    answers = run(derived, **{name: x, cotangent_name("logits"): weights})
    return answers[gradient_name(name)]


def autograd(network: nn.Module, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """∂ Σ weights · logits / ∂x in float64."""
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    logits, _ = network.double()(leaf)
    (logits * torch.tensor(weights).double()).sum().backward()
    network.float()
    assert leaf.grad is not None
    return leaf.grad.numpy()


def share_close(actual: np.ndarray, truth: np.ndarray, tolerance: float = 1e-5) -> float:
    """The share of elements within `tolerance` of the largest gradient of their example."""
    scale = np.abs(truth).max(axis=tuple(range(1, truth.ndim)), keepdims=True)
    return float((np.abs(actual - truth) <= tolerance * scale).mean())


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
def test_lenet_equals_float64_autograd(lenet, export_of, dynamo: bool) -> None:
    model = lenet.model if dynamo else export_of(lenet.network, lenet.images[:2], "image")
    for batch in (1, 2, 7, 200):
        x = lenet.images[:batch]
        weights = np.random.default_rng(batch).standard_normal((batch, 10)).astype(np.float32)
        actual = gradient(model, "image", x, weights)
        assert actual.shape == x.shape
        assert share_close(actual, autograd(lenet.network, x, weights)) >= 0.999


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
def test_mlp_equals_float64_autograd(mlp, export_of, dynamo: bool) -> None:
    x = np.random.default_rng(0).standard_normal((32, 8)).astype(np.float32)
    model = export_of(mlp, x[:2], "features", dynamo=dynamo)
    weights = np.eye(3, dtype=np.float32)[np.arange(32) % 3]
    actual = gradient(model, "features", x, weights)
    np.testing.assert_allclose(actual, autograd(mlp, x, weights), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("rule", "oracle"),
    [("guided", captum.attr.GuidedBackprop), ("deconvnet", captum.attr.Deconvolution)],
)
@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations")
@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
def test_rule_tables_equal_captum(lenet, rule: str, oracle: type) -> None:
    class Logits(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return lenet.network(x)[0]

    head = Logits()
    head.network = lenet.network
    targets = torch.tensor(lenet.labels[:8])
    truth = oracle(head).attribute(torch.tensor(lenet.images[:8]), target=targets).detach().numpy()
    weights = np.eye(10, dtype=np.float32)[lenet.labels[:8]]
    actual = gradient(lenet.model, "image", lenet.images[:8], weights, rule=rule)
    assert share_close(actual, truth) >= 0.999


def test_rows_do_not_mix(lenet) -> None:
    weights = np.eye(10, dtype=np.float32)[:5]
    together = gradient(lenet.model, "image", lenet.images[:5], weights)
    alone = [
        gradient(lenet.model, "image", lenet.images[i : i + 1], weights[i : i + 1])
        for i in range(5)
    ]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-6)


def test_keeps_the_forward_outputs_and_the_model_given(lenet) -> None:
    before = lenet.model.SerializeToString(deterministic=True)
    derived = differentiate(lenet.model, "image", output="logits")
    assert lenet.model.SerializeToString(deterministic=True) == before
    x = lenet.images[:3]
    answers = run(derived, image=x, **{cotangent_name("logits"): np.ones((3, 10), np.float32)})
    for name, value in run(lenet.model, image=x).items():
        np.testing.assert_allclose(answers[name], value, atol=1e-6)


def graph_model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int | str]]],
    outputs: dict[str, int],
    constants: dict[str, np.ndarray] | None = None,
    opset: int = 20,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()],
        [helper.make_tensor_value_info(n, t, None) for n, t in outputs.items()],
        [numpy_helper.from_array(a, n) for n, a in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


VECTOR = {"x": (TensorProto.FLOAT, ["n"])}
FLOAT = TensorProto.FLOAT


def test_by_hand() -> None:
    """y = x² + 3x used twice over: dy/dx = 2x + 3."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Mul", ["x", "three"], ["triple"]),
        helper.make_node("Add", ["square", "triple"], ["y"]),
    ]
    model = graph_model(nodes, VECTOR, {"y": FLOAT}, {"three": np.float32([3])})
    answers = run(
        differentiate(model, "x"), x=np.float32([1, -2]), **{"y.cotangent": np.float32([1, 10])}
    )
    np.testing.assert_array_equal(answers["x.gradient"], [5, -10])


def test_inner_tensors_embeddings_and_several_at_once() -> None:
    """The embedding's output stands for tokens that have no gradient."""
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["embedded"]),
        helper.make_node("Mul", ["embedded", "x"], ["scaled"]),
        helper.make_node("ReduceSum", ["scaled", "axes"], ["y"], keepdims=0),
    ]
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    model = graph_model(
        nodes,
        {"tokens": (TensorProto.INT64, ["n", "t"]), "x": (FLOAT, ["n", "t", 2])},
        {"y": FLOAT},
        {"table": table, "axes": np.array([1, 2])},
    )
    tokens, x = np.array([[0, 3, 3]]), np.full((1, 3, 2), 2, np.float32)
    derived = differentiate(model, ["embedded", "x"])
    answers = run(derived, tokens=tokens, x=x, **{"y.cotangent": np.float32([1])})
    np.testing.assert_array_equal(answers["embedded.gradient"], x)
    np.testing.assert_array_equal(answers["x.gradient"], table[tokens])
    with pytest.raises(InvalidArgument, match="'tokens' is not of a float type"):
        differentiate(model, "tokens")


def test_a_tensor_between_input_and_output_passes_its_gradient_on() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["inner"]),
        helper.make_node("Mul", ["inner", "x"], ["y"]),
    ]
    derived = differentiate(graph_model(nodes, VECTOR, {"y": FLOAT}), ["x", "inner"])
    answers = run(derived, x=np.float32([2]), **{"y.cotangent": np.float32([1])})
    np.testing.assert_array_equal(answers["x.gradient"], [12])
    np.testing.assert_array_equal(answers["inner.gradient"], [2])


def test_ties_break_as_in_pytorch() -> None:
    """MaxPool: the first of a tie. Relu: nothing at zero. Clip: all at its bounds."""
    x = np.float32([[[0, 0, 3, 3]]])
    pool = [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2], strides=[2])]
    model = graph_model(pool, {"x": (FLOAT, ["n", 1, 4])}, {"y": FLOAT})
    answers = run(differentiate(model, "x"), x=x, **{"y.cotangent": np.ones((1, 1, 2), np.float32)})
    leaf = torch.tensor(x, requires_grad=True)
    nn.functional.max_pool1d(leaf, 2).sum().backward()
    np.testing.assert_array_equal(answers["x.gradient"], leaf.grad)

    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Clip", ["x", "", "high"], ["c"]),
        helper.make_node("Add", ["r", "c"], ["y"]),
    ]
    model = graph_model(nodes, VECTOR, {"y": FLOAT}, {"high": np.float32(1)})
    answers = run(
        differentiate(model, "x"), x=np.float32([0, 1, 2]), **{"y.cotangent": np.ones(3, "f")}
    )
    np.testing.assert_array_equal(answers["x.gradient"], [1, 2, 1])


def test_old_opsets_are_lifted() -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["x"], ["u"], axes=[1]),
        helper.make_node("ReduceMean", ["u"], ["y"], axes=[0], keepdims=0),
    ]
    model = graph_model(nodes, VECTOR, {"y": FLOAT}, opset=11)
    answers = run(differentiate(model, "x"), x=np.ones(4, "f"), **{"y.cotangent": np.float32([8])})
    np.testing.assert_array_equal(answers["x.gradient"], [2, 2, 2, 2])


def network_of(opset: int, elem_type: int = FLOAT) -> onnx.ModelProto:
    """Operators whose form changed between operator sets, in the form of `opset`."""
    axes_are_inputs = {
        "ReduceMean": 18,
        "ReduceSum": 13,
        "Squeeze": 13,
        "Unsqueeze": 13,
        "Split": 13,
    }
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    constants = {
        "w": np.linspace(-1, 1, 36).reshape(4, 1, 3, 3).astype(dtype),
        "low": np.array(0, dtype), "high": np.array(3, dtype),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "shape": np.array([0, 32]),
        "scales": np.float32([1, 1, 2, 2]), "roi": np.zeros(0, np.float32),
    }  # fmt: skip

    def reduced(operator: str, x: str, y: str, axes: list[int], **more: int) -> onnx.NodeProto:
        name = "split" if operator == "Split" else "axes"
        outputs = y.split()
        if opset < axes_are_inputs[operator]:
            return helper.make_node(operator, [x], outputs, **{name: axes}, **more)
        constants[f"{y}_{name}"] = np.array(axes)
        return helper.make_node(operator, [x, f"{y}_{name}"], outputs, **more)

    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("Conv", ["padded", "w"], ["c"]),
        helper.make_node("Clip", ["c", "low", "high"], ["clipped"]),
        helper.make_node("Resize", ["clipped", "roi", "scales"], ["big"], mode="nearest",
                         coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        helper.make_node("MaxPool", ["big"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Dropout", ["pooled"], ["kept"]),
        reduced("Split", "kept", "first second", [1, 3], axis=1),
        reduced("ReduceMean", "second", "mean", [1], keepdims=1),
        helper.make_node("Add", ["first", "mean"], ["sum"]),
        reduced("Squeeze", "sum", "flat", [1]),
        reduced("Unsqueeze", "flat", "again", [1]),
        reduced("ReduceSum", "again", "logits", [1, 2], keepdims=0),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]  # fmt: skip
    return graph_model(
        nodes, {"x": (elem_type, ["n", 1, 4, 4])}, {"y": elem_type}, constants, opset
    )


def network_by_hand(x: torch.Tensor) -> torch.Tensor:
    weight = torch.tensor(np.linspace(-1, 1, 36).reshape(4, 1, 3, 3))
    clipped = nn.functional.conv2d(x, weight, padding=1).clamp(0, 3)
    pooled = nn.functional.max_pool2d(nn.functional.interpolate(clipped, scale_factor=2), 4)
    return (pooled[:, :1] + pooled[:, 1:].mean(1, keepdim=True)).sum((1, 2)).softmax(1)


@pytest.mark.parametrize("opset", range(11, 24))
def test_every_opset_from_11_on(opset: int) -> None:
    x = np.random.default_rng(0).standard_normal((3, 1, 4, 4)).astype("f")
    weights = np.random.default_rng(1).standard_normal((3, 2)).astype("f")
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    (network_by_hand(leaf) * torch.tensor(weights)).sum().backward()
    answers = run(differentiate(network_of(opset), "x"), x=x, **{"y.cotangent": weights})
    np.testing.assert_allclose(answers["x.gradient"], leaf.grad, atol=1e-6)


def test_double_precision_where_there_are_kernels_and_a_typed_error_where_not() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Tanh", ["h"], ["y"])]
    double = {"x": (TensorProto.DOUBLE, ["n", 3])}
    w = np.random.default_rng(0).standard_normal((3, 2))
    derived = differentiate(graph_model(nodes, double, {"y": TensorProto.DOUBLE}, {"w": w}), "x")
    x, weights = np.array([[0.1, -0.5, 1]]), np.array([[2.0, 1.0]])
    leaf = torch.tensor(x, requires_grad=True)
    ((leaf @ torch.tensor(w)).tanh() * torch.tensor(weights)).sum().backward()
    answers = run(derived, x=x, **{"y.cotangent": weights})
    np.testing.assert_allclose(answers["x.gradient"], leaf.grad, rtol=1e-12)
    derived = differentiate(network_of(20, TensorProto.DOUBLE), "x")
    with pytest.raises(Unsupported, match="cannot run this model"):
        open_session(derived.SerializeToString(), RuntimeOptions(device="cpu"))


def test_half_precision() -> None:
    nodes = [helper.make_node("Tanh", ["x"], ["t"]), helper.make_node("Softmax", ["t"], ["y"])]
    half = {"x": (TensorProto.FLOAT16, ["n", 3])}
    model = graph_model(nodes, half, {"y": TensorProto.FLOAT16})
    x, weights = np.float16([[0.1, -0.5, 1]]), np.float16([[0, 1, 0]])
    answers = run(differentiate(model, "x"), x=x, **{"y.cotangent": weights})
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    leaf.tanh().softmax(-1)[0, 1].backward()
    assert answers["x.gradient"].dtype == np.float16
    np.testing.assert_allclose(answers["x.gradient"], leaf.grad, atol=1e-3)


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([helper.make_node("HardSwish", ["x"], ["y"])], {}),
        (
            [
                helper.make_node("Mul", ["x", "a"], ["ax"]),
                helper.make_node("Mul", ["x", "b"], ["bx"]),
                helper.make_node("Max", ["ax", "bx"], ["y"]),
            ],
            {"a": np.float16(1.2345), "b": np.float16(0.777)},
        ),
        ([helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[1, 1])], {}),
        ([helper.make_node("Gather", ["x", "i"], ["y"], axis=3)], {"i": np.array([0, 2, 0])}),
        ([helper.make_node("TopK", ["x", "k"], ["y", "at"])], {"k": np.array([2])}),
    ],
    ids=["HardSwish", "Max", "MaxPool", "Gather", "TopK"],
)
def test_half_precision_says_what_single_does(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]
) -> None:
    """Also where ONNX Runtime rounds some tensors and not others, or has no kernel."""
    x = np.random.default_rng(0).standard_normal((1, 1, 4, 4)).astype(np.float16)
    gradients = []
    for kind in (TensorProto.FLOAT16, FLOAT):
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        typed = {n: a.astype(dtype) if a.dtype.kind == "f" else a for n, a in constants.items()}
        model = graph_model(nodes, {"x": (kind, list(x.shape))}, {"y": kind}, typed)
        given = x.astype(dtype)
        shape = run(model, x=given)["y"].shape
        weights = np.linspace(1, 2, int(np.prod(shape))).reshape(shape).astype(dtype)
        answers = run(differentiate(model, "x"), x=given, **{"y.cotangent": weights})
        assert answers["x.gradient"].dtype == dtype
        gradients.append(answers["x.gradient"])
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=3e-3, atol=3e-3)


def test_what_hangs_off_the_path_needs_no_rule() -> None:
    """Control flow, integers and unknown operators beside the way from x to y are left alone."""
    nodes = [
        helper.make_node("ArgMax", ["x"], ["best"], axis=0, keepdims=1),
        helper.make_node("Cast", ["best"], ["best_float"], to=FLOAT),
        helper.make_node("Multinomial", ["wide"], ["sample"]),
        helper.make_node("Unsqueeze", ["x", "zero"], ["wide"]),
        helper.make_node("Greater", ["x", "half"], ["mask"]),
        helper.make_node("Where", ["mask", "x", "half"], ["kept"]),
        helper.make_node("Mul", ["kept", "best_float"], ["y"]),
    ]
    nodes = [nodes[3], nodes[2], *nodes[:2], *nodes[4:]]
    constants = {"zero": np.array([0]), "half": np.float32(0.5)}
    model = graph_model(nodes, VECTOR, {"y": FLOAT, "sample": TensorProto.INT32}, constants)
    answers = run(
        differentiate(model, "x"), x=np.float32([0, 2]), **{"y.cotangent": np.ones(2, "f")}
    )
    np.testing.assert_array_equal(answers["x.gradient"], [0, 1])


def test_unknown_operators_are_named_with_their_nodes_and_the_way_out() -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["d"], name="determinant"),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    model = graph_model(nodes, {"x": (FLOAT, ["n", 2, 2])}, {"y": FLOAT})
    with pytest.raises(Unsupported, match=r"Det \(node 'determinant'\).*kernel_shap"):
        differentiate(model, "x")


def branch_of(*nodes: onnx.NodeProto, **constants: np.ndarray) -> onnx.GraphProto:
    return helper.make_graph(
        nodes,
        "branch",
        [],
        [helper.make_tensor_value_info(nodes[-1].output[0], FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )


def test_a_choice_is_differentiated_as_it_is_made() -> None:
    """y = x² w or 3 w; where the branch does not look at a tensor its gradient is zero."""
    squared = branch_of(
        helper.make_node("Mul", ["x", "x"], ["square"], name="same_name"),
        helper.make_node("Mul", ["square", "w"], ["chosen"]),
    )
    plain = branch_of(helper.make_node("Mul", ["w", "three"], ["other"]), three=np.float32([3]))
    nodes = [
        helper.make_node("If", ["yes"], ["c"], then_branch=squared, else_branch=plain),
        helper.make_node("Neg", ["c"], ["y"]),
    ]
    inputs = {**VECTOR, "w": (FLOAT, ["n"]), "yes": (TensorProto.BOOL, [])}
    derived = differentiate(graph_model(nodes, inputs, {"y": FLOAT}), ["x", "w"])
    feeds = {"x": np.float32([2]), "w": np.float32([5]), "y.cotangent": np.ones(1, "f")}
    for yes, by_x, by_w in ((True, -20, -4), (False, 0, -3)):
        answers = run(derived, yes=np.array(yes), **feeds)
        assert (answers["x.gradient"], answers["w.gradient"]) == (by_x, by_w)


def test_a_steep_function_in_a_branch_does_not_spoil_what_is_before_it() -> None:
    """√ relu(x): the slope of the root at zero is infinite, and Relu lets none of it through."""
    root = branch_of(helper.make_node("Sqrt", ["r"], ["chosen"]))
    same = branch_of(helper.make_node("Identity", ["r"], ["other"]))
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=root, else_branch=same),
    ]
    model = graph_model(nodes, {**VECTOR, "yes": (TensorProto.BOOL, [])}, {"y": FLOAT})
    feeds = {"x": np.float32([-1, 4]), "y.cotangent": np.ones(2, "f")}
    answers = run(differentiate(model, "x"), yes=np.array(True), **feeds)
    np.testing.assert_array_equal(answers["x.gradient"], [0, 0.25])


def test_loops_on_the_way_are_refused() -> None:
    body = helper.make_graph(
        [helper.make_node("Mul", ["state", "x"], ["next"]),
         helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("state", FLOAT, ["n"])],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("next", FLOAT, ["n"])],
    )  # fmt: skip
    nodes = [helper.make_node("Loop", ["times", "", "x"], ["y"], name="again", body=body)]
    model = graph_model(nodes, VECTOR, {"y": FLOAT}, {"times": np.array(2)})
    with pytest.raises(Unsupported, match=r"Loop \(node 'again'\)"):
        differentiate(model, "x")


def test_outputs_that_a_rule_does_not_answer_for_are_refused() -> None:
    nodes = [
        helper.make_node("LayerNormalization", ["x", "s"], ["n", "mean"], name="norm"),
        helper.make_node("Mul", ["n", "mean"], ["y"]),
    ]
    model = graph_model(nodes, {"x": (FLOAT, ["n", 2])}, {"y": FLOAT}, {"s": np.ones(2, "f")})
    with pytest.raises(Unsupported, match=r"norm.*output 1 \('mean'\)"):
        differentiate(model, "x")


def test_refuses_what_has_no_backward_form() -> None:
    image = {"x": (FLOAT, ["n", 1, "h", "w"])}
    same = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER")
    weights = {"w": np.ones((1, 1, 3, 3), np.float32)}
    with pytest.raises(Unsupported, match="auto_pad=SAME_UPPER"):
        differentiate(graph_model([same], image, {"y": FLOAT}, weights), "x")
    dynamic = graph_model(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        {**image, "w": (FLOAT, [1, 1, 3, 3])},
        {"y": FLOAT},
    )
    with pytest.raises(Unsupported, match="input 1 \\('w'\\)"):
        differentiate(dynamic, "w")


@pytest.mark.parametrize("rule", ["gradient", "guided", "deconvnet", "deeplift"])
@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (helper.make_node("Clip", ["x", "m"], ["y"]), "a bound that depends on the input"),
        (helper.make_node("Clip", ["x", "", "m"], ["y"]), "a bound that depends on the input"),
        (helper.make_node("Pad", ["x", "pads", "m"], ["y"]), "pad with that depends on the input"),
    ],
    ids=["above a bound", "below a bound", "Pad"],
)
def test_refuses_to_pass_over_what_depends_on_the_input(
    node: onnx.NodeProto, reason: str, rule: str
) -> None:
    nodes = [helper.make_node("ReduceMean", ["x"], ["m"], keepdims=0), node]
    model = graph_model(nodes, VECTOR, {"y": FLOAT}, {"pads": np.array([0, 1])})
    with pytest.raises(Unsupported, match=reason):
        differentiate(model, "x", rule)


def test_bad_arguments_name_what_is_allowed(lenet) -> None:
    with pytest.raises(InvalidArgument, match="no tensor 'pixels'; it has image"):
        differentiate(lenet.model, "pixels", output="logits")
    with pytest.raises(InvalidArgument, match="no tensor 'value'; it has logits, probabilities"):
        differentiate(lenet.model, "image", output="value")
    with pytest.raises(InvalidArgument, match=r"name one output: .*logits, probabilities"):
        differentiate(lenet.model, "image")
    with pytest.raises(InvalidArgument, match="unknown rule 'lrp'; known are gradient, guided"):
        differentiate(lenet.model, "image", output="logits", rule="lrp")


def test_no_path_is_said() -> None:
    nodes = [helper.make_node("Floor", ["x"], ["y"])]
    with pytest.raises(Unsupported, match="no differentiable path leads from 'x' to 'y'"):
        differentiate(graph_model(nodes, VECTOR, {"y": FLOAT}), "x")


def test_names_never_clash() -> None:
    """A differentiated model can be differentiated: y = x³, by hand y″ = 6x."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Mul", ["square", "x"], ["y"]),
    ]
    first = differentiate(graph_model(nodes, VECTOR, {"y": FLOAT}), "x")
    with pytest.raises(InvalidArgument, match=r"already has tensors named x\.gradient"):
        differentiate(first, "x", output="x.gradient")
    for node in first.graph.node:
        node.output[:] = [name.replace("x.gradient", "slope") for name in node.output]
    first.graph.output[1].name = "slope"
    one = np.ones(1, np.float32)
    second = differentiate(first, "x", output="slope")
    answers = run(second, x=np.float32([2]), **{"y.cotangent": one, "slope.cotangent": one})
    assert (answers["slope"], answers["x.gradient"]) == (12, 12)
