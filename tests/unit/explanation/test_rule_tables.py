"""The other rules on whole networks: what they promise, and what other libraries say."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from services.explanation.backprop import differentiate
from wintergarden.errors import Unsupported


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def export(network: nn.Module, example: Tensor) -> onnx.ModelProto:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network, (example,), input_names=["x"], output_names=["logits"], dynamo=True,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), verbose=False,
        )  # fmt: skip
    assert program is not None
    return program.model_proto


def one_hot(targets: Any, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[np.asarray(targets)]


def attributions(
    model: onnx.ModelProto, x: np.ndarray, base: np.ndarray, weights: np.ndarray, name: str = "x"
) -> tuple[np.ndarray, np.ndarray]:
    """DeepLIFT's, and what is missing from the change of the output, for each row."""
    answers = run(
        differentiate(model, name, "deeplift", "logits"),
        {name: x, f"{name}.baseline": base, "logits.cotangent": weights},
    )
    parts = answers[f"{name}.gradient"] * (x - base)
    change = ((answers["logits"] - answers["logits.baseline"]) * weights).sum(1)
    return parts, parts.reshape(len(x), -1).sum(1, dtype=np.float64) - change


class Transformer(nn.Module):
    """Vectors in, classes out, eight layers deep."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 8, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(1))


class Residual(nn.Module):
    """Convolutions with batch normalisation, ReLU6, a skip and pooling of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU6())
        self.second = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.head = nn.Linear(6 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.first(x), 2)
        x = nn.functional.avg_pool2d(torch.relu(x + self.second(x)), 2)
        return self.head(x.flatten(1))


def residual() -> Residual:
    torch.manual_seed(0)
    network = Residual()
    network(torch.randn(64, 2, 8, 8) * 2 + 1)
    return network.eval()


@pytest.fixture(scope="module")
def transformer() -> onnx.ModelProto:
    torch.manual_seed(0)
    return export(Transformer().eval(), torch.randn(2, 10, 16))


def test_deeplift_is_complete_through_eight_transformer_layers(transformer) -> None:
    x, base = np.random.default_rng(0).standard_normal((2, 6, 10, 16)).astype(np.float32)
    _, gaps = attributions(transformer, x, base, one_hot([0, 1, 2, 3, 4, 0], 5))
    assert np.abs(gaps).max() <= 1e-5


def test_deeplift_is_complete_on_convolutions_and_equals_shap(lenet) -> None:
    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = lenet.network

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x)[0]

    x, base = lenet.images[:8], np.repeat(lenet.background[:1], 8, axis=0)
    weights = one_hot(lenet.labels[:8], 10)
    parts, gaps = attributions(lenet.model, x, base, weights, "image")
    assert np.abs(gaps).max() <= 1e-5 * 30
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap  # whose colour maps warn of matplotlib's plans

        explainer = shap.DeepExplainer(Logits().eval(), torch.tensor(base[:1]))
        truth = explainer.shap_values(torch.tensor(x), check_additivity=False)
    theirs = (truth * weights[:, None, None, None]).sum(-1)
    np.testing.assert_allclose(parts, theirs, atol=1e-4)


@pytest.mark.parametrize("rule", ["deeplift", "lrp_epsilon", "lrp_gamma"])
def test_residual_networks(rule: str) -> None:
    """DeepLIFT adds up; LRP conserves what biases do not absorb."""
    network = residual()
    x, base = np.random.default_rng(1).standard_normal((2, 5, 2, 8, 8)).astype(np.float32)
    model = export(network, torch.tensor(x))
    weights = one_hot([0, 1, 2, 3, 0], 4)
    if rule == "deeplift":
        _, gaps = attributions(model, x, base, weights)
        assert np.abs(gaps).max() <= 1e-5
        return
    answers = run(differentiate(model, "x", rule), {"x": x, "logits.cotangent": weights})
    assert np.isfinite(answers["x.gradient"]).all()


def rho(layer: nn.Module, gamma: float, sign: int) -> nn.Module:
    """The layer with γ times the weights of one sign on top."""
    raised = copy.deepcopy(layer)
    for p in raised.parameters():
        p.data += gamma * sign * (p.data * sign).clamp(min=0)
    return raised


def lrp_by_hand(network: nn.Sequential, x: Tensor, weights: Tensor, gamma: float) -> Tensor:
    """Montavon et al. 2019, §10.2, layer by layer on relevances rather than gradients."""
    inputs = [x]
    for layer in network:
        inputs.append(layer(inputs[-1]))
    relevance = inputs[-1] * weights
    for layer, a in zip(reversed(network), reversed(inputs[:-1]), strict=True):
        a = a.detach().requires_grad_()
        if not isinstance(layer, nn.Linear | nn.Conv2d | nn.AvgPool2d):
            (scaled,) = torch.autograd.grad(layer(a), a, relevance / nonzero(layer(a)))
            relevance = (scaled * a).detach()
            continue
        z, parts = layer(a), torch.zeros_like(a)
        ways = ((1, 1), (-1, -1)) if gamma and not isinstance(layer, nn.AvgPool2d) else ((0, 1),)
        for sign, favoured in ways:
            up, down = rho(layer, gamma, favoured), rho(layer, gamma, -favoured)
            if getattr(down, "bias", None) is not None:
                down.bias.data *= 0
            reached = up(a.clamp(min=0)) + down(a.clamp(max=0)) if sign else z
            mine = torch.ones_like(z) if not sign else (z * sign > 0).to(z)
            share = mine * relevance / (reached + torch.where(reached >= 0, 1e-6, -1e-6))
            (scaled,) = torch.autograd.grad(reached, a, share.detach(), retain_graph=True)
            parts = parts + scaled * a
        relevance = parts.detach()
    return relevance


def nonzero(z: Tensor) -> Tensor:
    return torch.where(z == 0, torch.ones_like(z), z)


@pytest.mark.parametrize(("rule", "gamma"), [("lrp_epsilon", 0.0), ("lrp_gamma", 0.25)])
def test_lrp_equals_propagation_by_hand(rule: str, gamma: float) -> None:
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 5, 2), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3),
    )  # fmt: skip
    x = np.random.default_rng(4).standard_normal((4, 2, 8, 8)).astype(np.float32)
    weights = one_hot([0, 1, 2, 0], 3)
    model = export(network, torch.tensor(x))
    truth = lrp_by_hand(network.double(), torch.tensor(x).double(), torch.tensor(weights), gamma)
    answers = run(differentiate(model, "x", rule), {"x": x, "logits.cotangent": weights})
    scale = truth.abs().max().item()
    np.testing.assert_allclose(answers["x.gradient"] * x, truth, atol=1e-4 * scale)


def test_lrp_without_epsilon_is_the_gradient_times_the_input() -> None:
    """With batch normalisation folded, and wherever no activation is tiny."""
    network = residual()
    x = np.random.default_rng(1).standard_normal((5, 2, 8, 8)).astype(np.float32)
    model, weights = export(network, torch.tensor(x)), one_hot([0, 1, 2, 3, 0], 4)
    feeds = {"x": x, "logits.cotangent": weights}
    plain = run(differentiate(model, "x"), feeds)["x.gradient"]
    ours = run(differentiate(model, "x", "lrp_epsilon"), feeds)["x.gradient"]
    assert np.median(np.abs(ours - plain)) <= 1e-4 * np.abs(plain).max()


@pytest.mark.parametrize(("rule", "expected"), [("guided", [0, 2, 0]), ("deconvnet", [2, 2, 2])])
def test_relu6_rectifies_what_comes_back(rule: str, expected: list[float]) -> None:
    """Below, inside and above the range of ReLU6; a negative signal is stopped by both rules."""
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 20]>'
        "g (float[n] x) => (float[n] y)"
        "<float low = {0.0}, float high = {6.0}> { y = Clip(x, low, high) }"
    )
    derived = differentiate(model, "x", rule)
    x = np.float32([-1, 3, 7])
    for signal, answer in ((2, expected), (-2, [0, 0, 0])):
        cotangent = np.full(3, signal, np.float32)
        told = run(derived, {"x": x, "y.cotangent": cotangent})["x.gradient"]
        np.testing.assert_array_equal(told, answer)


def test_what_lrp_cannot_do_is_refused_by_name(transformer) -> None:
    with pytest.raises(Unsupported, match=r"no backward rule.*kernel_shap"):
        differentiate(transformer, "x", "lrp_epsilon")
