"""LSTM, GRU and RNN against PyTorch's float64 autograd, step by step where lengths differ."""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from services.explanation.backprop import differentiate

INPUTS, HIDDEN = 3, 4
ORDERS = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}


def layer(kind: str, bidirectional: bool, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = getattr(nn, kind)(INPUTS, HIDDEN, bidirectional=bidirectional, **options)
    return made.double()


def weights(kind: str, network: nn.Module) -> dict[str, np.ndarray]:
    """PyTorch's gates in ONNX's order."""

    def gates(name: str) -> np.ndarray:
        parts = getattr(network, name).detach().chunk(len(ORDERS[kind]))
        return torch.cat([parts[k] for k in ORDERS[kind]]).float().numpy()

    ends = ["", "_reverse"] if network.bidirectional else [""]
    return {
        "W": np.stack([gates(f"weight_ih_l0{e}") for e in ends]),
        "R": np.stack([gates(f"weight_hh_l0{e}") for e in ends]),
        "B": np.stack([np.r_[gates(f"bias_ih_l0{e}"), gates(f"bias_hh_l0{e}")] for e in ends]),
    }


def recurrent_model(
    kind: str, constants: dict[str, np.ndarray], inputs: str, outputs: list[str], **attributes: Any
) -> onnx.ModelProto:
    """Y, Y_h and Y_c as far as `outputs` name them, each weighed and summed to one number."""
    node = helper.make_node(
        kind, ["" if n == "-" else n for n in inputs.split()], outputs,
        hidden_size=HIDDEN, **attributes,
    )  # fmt: skip
    nodes, sums = [node], []
    for name in outputs:
        if name:
            nodes.append(helper.make_node("Mul", [name, f"w{name}"], [f"{name}_weighed"]))
            nodes.append(
                helper.make_node("ReduceSum", [f"{name}_weighed"], [f"{name}_sum"], keepdims=0)
            )
            sums.append(f"{name}_sum")
    nodes.append(helper.make_node("Sum", sums, ["y"]))
    kinds = {"lengths": TensorProto.INT32}
    shapes = {"X": ["T", "N", INPUTS], "lengths": ["N"]}
    fed = [n for n in inputs.split() if n not in constants and n != "-"]
    fed += [f"w{n}" for n in outputs if n]
    graph = helper.make_graph(
        nodes,
        kind,
        [
            helper.make_tensor_value_info(
                n, kinds.get(n, TensorProto.FLOAT), shapes.get(n, [None] * (4 if n == "wY" else 3))
            )
            for n in fed
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [o.name for o in session.get_outputs() if o.name.endswith(".gradient")]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("lengths", [None, [5, 2, 1]], ids=["equal", "ragged"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_equals_float64_autograd(kind: str, bidirectional: bool, lengths: list[int] | None) -> None:
    network = layer(kind, bidirectional)
    ways, steps, batch = 1 + bidirectional, 5, 3
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    states = ["H", "C"] if kind == "LSTM" else ["H"]
    feeds = {"X": draw(steps, batch, INPUTS), "wY": draw(steps, ways, batch, HIDDEN)}
    outputs = ["Y", "Yh", "Yc"] if kind == "LSTM" else ["Y", "Yh"]
    feeds |= {n: draw(ways, batch, HIDDEN) for n in [*states, *(f"w{o}" for o in outputs[1:])]}

    leaves = {n: torch.tensor(feeds[n]).double().requires_grad_() for n in ["X", *states]}
    packed: Any = leaves["X"]
    if lengths:
        packed = nn.utils.rnn.pack_padded_sequence(packed, torch.tensor(lengths))
    start = tuple(leaves[s] for s in states)
    y, ends = network(packed, start if kind == "LSTM" else start[0])
    if lengths:
        y, _ = nn.utils.rnn.pad_packed_sequence(y)
    y = y.reshape(steps, batch, ways, HIDDEN).transpose(1, 2)
    total = (y * torch.tensor(feeds["wY"])).sum()
    for name, end in zip(outputs[1:], ends if kind == "LSTM" else [ends], strict=True):
        total = total + (end * torch.tensor(feeds[f"w{name}"])).sum()
    truth = torch.autograd.grad(total, list(leaves.values()))

    if lengths:
        feeds["lengths"] = np.int32(lengths)
    model = recurrent_model(
        kind, weights(kind, network),
        f"X W R B {'lengths' if lengths else '-'} {' '.join(states)}", outputs,
        direction="bidirectional" if bidirectional else "forward",
        **({"linear_before_reset": 1} if kind == "GRU" else {}),
    )  # fmt: skip
    derived = differentiate(model, list(leaves))
    answers = run(derived, feeds | {"y.cotangent": np.ones((), "f")})
    for name, gradient in zip(leaves, truth, strict=True):
        actual = answers[f"{name}.gradient"]
        assert actual.shape == gradient.shape
        np.testing.assert_allclose(actual, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", [None, [5, 2, 1]], ids=["equal", "ragged"])
@pytest.mark.parametrize("reset_last", [0, 1])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_deeplift_is_complete(kind: str, reset_last: int, lengths: list[int] | None) -> None:
    rng = np.random.default_rng(3)
    options = {"linear_before_reset": reset_last} if kind == "GRU" else {}
    model = recurrent_model(
        kind, weights(kind, layer(kind, True)), f"X W R B {'lengths' if lengths else '-'} H",
        ["Y", "Yh"], direction="bidirectional", **options,
    )  # fmt: skip
    x, base = rng.standard_normal((2, 5, 3, INPUTS)).astype("f")
    start, start_base = rng.standard_normal((2, 2, 3, HIDDEN)).astype("f")
    feeds = {"wY": rng.standard_normal((5, 2, 3, HIDDEN)).astype("f")}
    feeds["wYh"] = rng.standard_normal((2, 3, HIDDEN)).astype("f")
    if lengths:
        feeds["lengths"] = np.int32(lengths)
    session = onnxruntime.InferenceSession(
        differentiate(model, ["X", "H"], "deeplift").SerializeToString()
    )
    y, y_base, by_x, by_h = session.run(
        ["y", "y.baseline", "X.gradient", "H.gradient"],
        {**feeds, "X": x, "X.baseline": base, "H": start, "H.baseline": start_base,
         "y.cotangent": np.ones((), "f")},
    )  # fmt: skip
    told = (by_x * (x - base)).sum() + (by_h * (start - start_base)).sum()
    np.testing.assert_allclose(told, y - y_base, atol=1e-5 * max(1, abs(y - y_base)))


def gru_by_hand(x: Tensor, w: Tensor, r: Tensor, b: Tensor) -> Tensor:
    """ONNX's default, which PyTorch has not: the reset gate before the product."""
    h, states = x.new_zeros(x.shape[1], HIDDEN), []
    wb, rb = b.chunk(2)
    for step in x:
        xz, xr, xh = (step @ w.T + wb).chunk(3, -1)
        rz, rr, rh = r.chunk(3)
        bz, br, bh = rb.chunk(3)
        z, reset = (xz + h @ rz.T + bz).sigmoid(), (xr + h @ rr.T + br).sigmoid()
        candidate = (xh + (reset * h) @ rh.T + bh).tanh()
        h = (1 - z) * candidate + z * h
        states.append(h)
    return torch.stack(states)


def test_a_gru_that_resets_first_and_runs_in_reverse() -> None:
    rng = np.random.default_rng(1)
    constants = {
        "W": rng.standard_normal((1, 12, INPUTS)).astype("f"),
        "R": rng.standard_normal((1, 12, HIDDEN)).astype("f"),
        "B": rng.standard_normal((1, 24)).astype("f"),
    }
    x, w = rng.standard_normal((6, 2, INPUTS)), rng.standard_normal((6, 1, 2, HIDDEN))
    leaf = torch.tensor(x, requires_grad=True)
    y = gru_by_hand(leaf.flip(0), *(torch.tensor(c[0]).double() for c in constants.values()))
    (truth,) = torch.autograd.grad((y.flip(0) * torch.tensor(w[:, 0])).sum(), leaf)
    model = recurrent_model("GRU", constants, "X W R B", ["Y"], direction="reverse")
    feeds = {"X": x.astype("f"), "wY": w.astype("f"), "y.cotangent": np.ones((), "f")}
    actual = run(differentiate(model, "X"), feeds)["X.gradient"]
    np.testing.assert_allclose(actual, truth, rtol=1e-4, atol=1e-5)


def test_an_rnn_of_relus_asked_for_its_last_state_alone() -> None:
    network = layer("RNN", bidirectional=False, nonlinearity="relu")
    x = np.random.default_rng(2).standard_normal((7, 2, INPUTS))
    leaf = torch.tensor(x, requires_grad=True)
    (truth,) = torch.autograd.grad(network(leaf)[1].sum(), leaf)
    model = recurrent_model(
        "RNN", weights("RNN", network), "X W R B", ["", "Yh"], activations=["Relu"]
    )
    feeds = {
        "X": x.astype("f"),
        "wYh": np.ones((1, 2, HIDDEN), "f"),
        "y.cotangent": np.ones((), "f"),
    }
    actual = run(differentiate(model, "X"), feeds)["X.gradient"]
    np.testing.assert_allclose(actual, truth, rtol=1e-4, atol=1e-5)


def test_two_thousand_steps_build_at_once_and_take_memory_linear_in_the_length() -> None:
    model = recurrent_model("LSTM", weights("LSTM", layer("LSTM", False)), "X W R B", ["Y"])
    start = time.monotonic()
    derived = differentiate(model, "X")
    session = onnxruntime.InferenceSession(derived.SerializeToString())
    assert time.monotonic() - start < 2
    assert len(derived.graph.node) < 150  # whatever the length

    def peak(steps: int) -> int:
        x, w = np.ones((steps, 8, INPUTS), "f"), np.ones((steps, 1, 8, HIDDEN), "f")
        session.run(["X.gradient"], {"X": x, "wY": w, "y.cotangent": np.ones((), "f")})
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = peak(2000)
    assert peak(4000) - before < 64 * 1024  # KiB; a square of the length would be gigabytes
