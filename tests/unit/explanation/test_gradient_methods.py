"""The gradient methods as requests call them, on a LeNet: captum's numbers, and what adds up."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import captum.attr
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from services.explanation import gradient_methods, gradient_task
from services.explanation import subject as subject_module
from services.explanation.arrays import channels_first
from services.explanation.attribution_methods import ATTRIBUTIONS
from services.explanation.attributions.expected_gradients import expected_gradients
from services.explanation.attributions.grad_cam import enlarged
from services.explanation.attributions.path import QUADRATURES, Quadrature
from services.explanation.attributions.players import Players
from services.explanation.attributions.smooth_grad import smooth_grad
from services.explanation.explain import ExplainQuery, Explanation, explain
from services.explanation.methods import attribution
from services.explanation.pictures import explanation_pictures
from services.explanation.subject import Subject, Subjects
from wintergarden.errors import InvalidArgument, InvalidTensor, Unsupported
from wintergarden.runtime import RuntimeOptions
from wintergarden.store import ManifestFields, ModelStore, TensorInfo, open_store
from wintergarden.store.reference import write_reference

ROWS = 6


@pytest.fixture(scope="module")
def store(lenet, tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    path: Path = tmp_path_factory.mktemp("store")
    store = open_store(str(path))
    with store.publish("lenet") as draft:
        draft.write("model.onnx", lenet.model.SerializeToString())
        draft.write(
            "reference.npz",
            write_reference({"image": lenet.images[:20]}, lenet.labels[:20], lenet.background[:8]),
        )
        draft.commit(
            ManifestFields(
                architecture="lenet5",
                task="image-classification",
                inputs=(TensorInfo(name="image", datatype="FP32", shape=[-1, 1, 28, 28]),),
                outputs=tuple(
                    TensorInfo(name=n, datatype="FP32", shape=[-1, 10])
                    for n in ("logits", "probabilities")
                ),
            )
        )
    return store


def opened(store: ModelStore, cache_bytes: int) -> Subject:
    return Subjects(store, RuntimeOptions(device="cpu"), cache_bytes).open(
        "lenet", 0, lambda rows: None
    )


@pytest.fixture(scope="module")
def subject(store: ModelStore) -> Subject:
    return opened(store, 1 << 28)


@pytest.fixture(scope="module")
def head(lenet) -> nn.Module:
    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = lenet.network

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x)[0]

    return Logits().eval()


def answer(subject: Subject, lenet, method: str, **more) -> Explanation:
    query = {
        "rows": lenet.images[:ROWS],
        "targets": tuple(int(label) for label in lenet.labels[:ROWS]),
        "background": lenet.background[:1],
        "parameters": {},
    }
    return explain(attribution(method).run, subject, ExplainQuery(**(query | more)))


def truth_of(oracle: object, lenet, /, **more) -> np.ndarray:
    targets = torch.tensor(lenet.labels[:ROWS])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = oracle.attribute(torch.tensor(lenet.images[:ROWS]), target=targets, **more)
    return told.detach().numpy()


@pytest.mark.parametrize("quadrature", range(len(QUADRATURES)))
def test_integrated_gradients_equal_captum(subject, head, lenet, quadrature: int) -> None:
    theirs = {
        "gauss_legendre": "gausslegendre", "midpoint": "riemann_middle",
        "trapezoid": "riemann_trapezoid", "left": "riemann_left", "right": "riemann_right",
    }[QUADRATURES[quadrature]]  # fmt: skip
    ours = answer(
        subject, lenet, "integrated_gradients", parameters={"steps": 20, "quadrature": quadrature}
    )
    truth = truth_of(
        captum.attr.IntegratedGradients(head), lenet, n_steps=20, method=theirs,
        baselines=torch.tensor(lenet.background[:1]),
    )  # fmt: skip
    scale = np.abs(truth).max()
    limit = 0.2 if theirs in ("riemann_trapezoid", "riemann_left", "riemann_right") else 1e-4
    np.testing.assert_allclose(ours.attributions, truth, atol=limit * scale)


def test_integrated_gradients_take_steps_until_they_add_up(subject, lenet) -> None:
    ours = answer(subject, lenet, "integrated_gradients", parameters={"tolerance": 5e-3})
    change = np.maximum(1, np.abs(ours.outputs - ours.base_values))
    assert (np.abs(ours.efficiency_gaps) <= 5e-3 * change).all()
    rough = answer(subject, lenet, "integrated_gradients", parameters={"tolerance": 1})
    assert rough.evaluations < ours.evaluations
    sums = ours.attributions.reshape(ROWS, -1).sum(1)
    np.testing.assert_allclose(ours.base_values + sums + ours.efficiency_gaps, ours.outputs)


@pytest.mark.parametrize(
    ("method", "most"), [("kernel_shap", 1), ("integrated_gradients", 2), ("guided_grad_cam", 3)]
)
def test_what_the_cache_cannot_keep_is_opened_once(
    store, lenet, monkeypatch: pytest.MonkeyPatch, method: str, most: int
) -> None:
    opening, sessions = subject_module.open_session, []

    def counted(*arguments):
        sessions.append(opening(*arguments))
        return sessions[-1]

    monkeypatch.setattr(subject_module, "open_session", counted)
    monkeypatch.setattr(subject_module, "_BATCH_BYTES", 4 * lenet.images[:1].nbytes)
    answer(opened(store, 0), lenet, method)
    assert len(sessions) <= most


def test_automatic_steps_stay_within_the_evaluations_allowed(subject, lenet) -> None:
    query = {"parameters": {"tolerance": 1e-6}, "background": lenet.background[:2]}
    spent = [
        answer(subject, lenet, "integrated_gradients", max_evaluations=most, **query).evaluations
        for most in (66, 193, 194, 449, 450)
    ]
    passes = [2 * 2 * ROWS * steps + 2 for steps in (16, 16, 16 + 32, 16 + 32, 16 + 32 + 64)]
    assert spent == passes
    with pytest.raises(InvalidArgument, match="max_evaluations=65: automatic steps begin with 66"):
        answer(subject, lenet, "integrated_gradients", max_evaluations=65, **query)


@pytest.mark.parametrize(
    ("allowed", "steps"), [(383, 0), (384, 16), (1151, 16), (1152, 48), (2688, 112)]
)
def test_automatic_steps_stay_within_those_of_a_request(
    subject, lenet, monkeypatch: pytest.MonkeyPatch, allowed: int, steps: int
) -> None:
    for module in (gradient_methods, gradient_task):
        monkeypatch.setattr(module, "MAX_EVALUATIONS", allowed)
    query = {"parameters": {"tolerance": 1e-6}, "background": lenet.background[:2]}
    if not steps:
        with pytest.raises(InvalidArgument, match="would take 384 gradients; 383 are allowed"):
            answer(subject, lenet, "integrated_gradients", **query)
        return
    spent = answer(subject, lenet, "integrated_gradients", **query).evaluations
    assert spent == 2 * 2 * ROWS * steps + 2


@pytest.mark.parametrize("method", ["deep_shap", "layer_conductance"])
def test_what_adds_up_says_its_gap(subject, lenet, method: str) -> None:
    ours = answer(subject, lenet, method, background=lenet.background[:4])
    limit = 1e-5 if method == "deep_shap" else 2e-2
    change = np.maximum(1, np.abs(ours.outputs - ours.base_values))
    assert (np.abs(ours.efficiency_gaps) <= limit * change).all()


def test_expected_gradients_add_up_within_their_errors(subject, lenet) -> None:
    ours = answer(
        subject, lenet, "expected_gradients", background=lenet.background[:8],
        parameters={"samples": 400},
    )  # fmt: skip
    assert ours.standard_errors.shape == (ROWS, 28 * 28)
    change = np.maximum(1, np.abs(ours.outputs - ours.base_values))
    assert np.median(np.abs(ours.efficiency_gaps) / change) <= 0.1


def test_input_x_gradient_and_the_rules_equal_captum(subject, head, lenet) -> None:
    for method, oracle in {
        "input_x_gradient": captum.attr.InputXGradient,
        "guided_backprop": captum.attr.GuidedBackprop,
        "deconvnet": captum.attr.Deconvolution,
    }.items():
        truth = truth_of(oracle(head), lenet)
        ours = answer(subject, lenet, method).attributions
        np.testing.assert_allclose(ours, truth, atol=1e-4 * np.abs(truth).max())


def test_grad_cam_and_its_guided_form_equal_captum(subject, head, lenet) -> None:
    """By default on what the last convolution becomes."""
    layer = lenet.network.features[4]  # the ReLU after the second convolution
    cam = captum.attr.LayerGradCam(head, layer)
    truth = truth_of(cam, lenet, relu_attributions=True)[:, 0]
    ours = answer(subject, lenet, "grad_cam").attributions
    assert ours.shape == lenet.images[:ROWS].shape
    expected = nn.functional.interpolate(
        torch.tensor(truth)[:, None], (28, 28), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-4 * truth.max())
    guided = answer(subject, lenet, "guided_grad_cam").attributions
    product = answer(subject, lenet, "guided_backprop").attributions * ours
    np.testing.assert_allclose(guided, product)


def test_conductance_equals_captum(subject, head, lenet) -> None:
    layer, name = lenet.network.classifier[2], _layer_named(lenet, "Relu", 2)
    base = torch.tensor(lenet.background[:1])
    truth = truth_of(captum.attr.LayerConductance(head, layer), lenet, baselines=base, n_steps=200)
    ours = answer(subject, lenet, "layer_conductance", layer=name, parameters={"steps": 200})
    assert ours.attributions.shape == (ROWS, 120)
    np.testing.assert_allclose(ours.attributions, truth, atol=2e-2 * np.abs(truth).max())

    unit = int(np.abs(truth[0]).argmax())
    truth = truth_of(
        captum.attr.NeuronConductance(head, layer), lenet, baselines=base, n_steps=100,
        neuron_selector=unit, method="riemann_middle",
    )  # fmt: skip
    numbers = {"steps": 100, "unit": unit, "quadrature": QUADRATURES.index("midpoint")}
    ours = answer(subject, lenet, "neuron_conductance", layer=name, parameters=numbers)
    np.testing.assert_allclose(ours.attributions, truth, atol=1e-3 * np.abs(truth).max())


def _layer_named(lenet, operator: str, index: int) -> str:
    return [n.output[0] for n in lenet.model.graph.node if n.op_type == operator][index]


def test_lrp_is_conserved_as_far_as_biases_let_it(subject, lenet) -> None:
    for method in ("lrp_epsilon", "lrp_gamma"):
        ours = answer(subject, lenet, method)
        assert np.isfinite(ours.attributions).all()
    # Without γ a network of rectifiers gives the gradient times the input.
    plain = answer(subject, lenet, "input_x_gradient").attributions
    relevance = answer(subject, lenet, "lrp_epsilon").attributions
    assert np.corrcoef(plain.ravel(), relevance.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("method", [m.name for m in ATTRIBUTIONS if m.needs_gradient])
def test_every_method_has_its_picture(subject, lenet, method: str) -> None:
    """Also those that answer in the shape of a layer."""
    ours = answer(subject, lenet, method, rows=lenet.images[:1], targets=())
    (picture,) = explanation_pictures(ours)
    assert picture.content.startswith(b"\x89PNG")


TABLE = np.random.default_rng(5).standard_normal((7, 3)).astype("f")
OUT = np.random.default_rng(6).standard_normal((3, 2)).astype("f")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Tokens, of which 0 is none: tanh of the sum of the embeddings of the others."""
    text = f"""<ir_version: 9, opset_import: ["" : 20]>
        g (int64[n, t] tokens) => (float[n, 2] logits) {{
            embedded = Gather(table, tokens)
            none = Constant<value = int64 {{0}}>()
            absent = Equal(tokens, none)
            present = Not(absent)
            mask = Cast<to = {TensorProto.FLOAT}>(present)
            axis = Constant<value = int64[1] {{-1}}>()
            column = Unsqueeze(mask, axis)
            kept = Mul(embedded, column)
            words = Constant<value = int64[1] {{1}}>()
            total = ReduceSum<keepdims = 0>(kept, words)
            bent = Tanh(total)
            logits = MatMul(bent, out)
        }}"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(
        numpy_helper.from_array(a, n) for n, a in {"table": TABLE, "out": OUT}.items()
    )
    store = open_store(str(tmp_path_factory.mktemp("texts")))
    with store.publish("reader") as draft:
        draft.write("model.onnx", model.SerializeToString())
        draft.commit(
            ManifestFields(
                architecture="by-hand",
                task="text-classification",
                inputs=(TensorInfo(name="tokens", datatype="INT64", shape=[-1, -1]),),
                outputs=(TensorInfo(name="logits", datatype="FP32", shape=[-1, 2]),),
            )
        )
    return Subjects(store, RuntimeOptions(device="cpu"), 1 << 28).open(
        "reader", 0, lambda rows: None
    )


def test_tokens_are_explained_by_their_embeddings(reader) -> None:
    tokens = np.array([[1, 5, 0], [2, 2, 3], [6, 0, 0]])
    query = ExplainQuery(rows=tokens, targets=(1,))
    ours = explain(attribution("integrated_gradients").run, reader, query)
    assert ours.attributions.shape == tokens.shape
    assert (np.abs(ours.efficiency_gaps) <= 1e-3).all()
    np.testing.assert_allclose(ours.base_values, 0, atol=1e-6)  # tanh of nothing
    assert (ours.attributions[tokens == 0] == 0).all()
    alone = explain(
        attribution("integrated_gradients").run,
        reader,
        ExplainQuery(rows=tokens[1:2], targets=(1,)),
    )
    np.testing.assert_allclose(alone.attributions, ours.attributions[1:2], atol=1e-6)

    leaf = torch.tensor(TABLE[tokens], requires_grad=True)
    total = (leaf * torch.tensor(tokens != 0)[..., None]).sum(1)
    (total.tanh() @ torch.tensor(OUT))[:, 1].sum().backward()
    product = explain(attribution("input_x_gradient").run, reader, query).attributions
    np.testing.assert_allclose(product, (leaf * leaf.grad).sum(-1).detach(), atol=1e-5)
    lengths = explain(attribution("saliency").run, reader, query).attributions
    np.testing.assert_allclose(lengths, leaf.grad.norm(dim=-1), atol=1e-5)


def test_expectations_over_other_texts_and_noise(reader) -> None:
    tokens, others = np.array([[1, 5, 4], [2, 2, 3]]), np.array([[6, 6, 6], [1, 2, 3]])
    query = ExplainQuery(rows=tokens, background=others, parameters={"samples": 2000})
    ours = explain(attribution("expected_gradients").run, reader, query)
    assert (np.abs(ours.efficiency_gaps) <= 0.15).all()
    noisy = explain(
        attribution("smooth_grad").run, reader,
        ExplainQuery(rows=tokens, parameters={"samples": 3}),
    )  # fmt: skip
    assert noisy.attributions.shape == tokens.shape


@pytest.mark.parametrize("method", [m.name for m in ATTRIBUTIONS])
def test_a_text_of_no_tokens_is_refused(reader, method: str) -> None:
    nothing = ExplainQuery(rows=np.zeros((2, 0), np.int64))
    with pytest.raises(InvalidTensor, match=r"input 'tokens' has rows \[0\]: there is nothing in"):
        explain(attribution(method).run, reader, nothing)


def test_a_background_of_no_tokens_is_refused(reader) -> None:
    query = ExplainQuery(rows=np.array([[1, 5]]), background=np.zeros((1, 0), np.int64))
    with pytest.raises(InvalidTensor, match="background 'tokens' has rows"):
        explain(attribution("integrated_gradients").run, reader, query)


def test_deep_shap_of_tokens_adds_up_and_is_the_rescale_rule(reader) -> None:
    """From zeros, tanh's multiplier at the sum s of the embeddings is tanh(s) / s."""
    tokens = np.array([[1, 5, 0], [2, 2, 3]])
    ours = explain(attribution("deep_shap").run, reader, ExplainQuery(rows=tokens, targets=(1,)))
    assert (np.abs(ours.efficiency_gaps) <= 1e-5).all()
    kept = TABLE[tokens].astype(np.float64) * (tokens != 0)[..., None]
    total = kept.sum(1, keepdims=True)
    truth = (kept * (np.tanh(total) / total) * OUT[:, 1]).sum(-1)
    np.testing.assert_allclose(ours.attributions, truth, atol=1e-6)
    others = np.array([[6, 6, 6], [1, 2, 3]])
    ours = explain(attribution("deep_shap").run, reader, ExplainQuery(tokens, background=others))
    assert (np.abs(ours.efficiency_gaps) <= 1e-5).all()


def test_layers_behind_tokens_have_their_conductance(reader) -> None:
    tokens = np.array([[1, 5, 4], [2, 2, 3]])
    query = ExplainQuery(rows=tokens, targets=(1,), layer="bent")
    ours = explain(attribution("layer_conductance").run, reader, query)
    assert ours.attributions.shape == (2, 3)
    # The logits are a line in this layer, so that each unit's part is its value times its weight.
    hidden = np.tanh(TABLE[tokens].sum(1))
    np.testing.assert_allclose(ours.attributions, hidden * OUT[:, 1], atol=1e-5)
    parts = [
        explain(
            attribution("neuron_conductance").run, reader,
            replace(query, parameters={"unit": unit, "steps": 128}),
        )
        for unit in range(3)
    ]  # fmt: skip
    assert parts[0].attributions.shape == tokens.shape
    sums = np.stack([part.attributions.sum(1) for part in parts], axis=1)
    np.testing.assert_allclose(sums, ours.attributions, atol=1e-4)


def test_grad_cam_of_tokens_needs_maps_over_them(reader) -> None:
    tokens = np.array([[1, 5, 4]])
    for layer, error, match in (
        ("", InvalidArgument, "has no convolution; name a layer"),
        ("bent", Unsupported, r"needs channels and places: name a layer \[N, C, T\]"),
    ):
        with pytest.raises(error, match=match):
            explain(attribution("grad_cam").run, reader, ExplainQuery(tokens, layer=layer))


def test_images_whose_channels_are_last_are_read_as_such() -> None:
    row = np.arange(6 * 5 * 3).reshape(6, 5, 3)
    assert channels_first(row).shape == (3, 6, 5)
    assert channels_first(channels_first(row)).shape == (3, 6, 5)
    players = Players.grid(row.shape, 2, 5)
    assert players.count == 10
    assert (players.assignment == players.assignment[..., :1]).all()
    np.testing.assert_array_equal(players.assignment[[0, 3], :, 0], np.arange(10).reshape(2, 5))


def test_smooth_grad_is_the_gradient_without_noise_and_does_not_mix_rows(served, lenet) -> None:
    rows, weights = lenet.images[:3], np.eye(10, dtype=np.float32)[:3]
    still = smooth_grad(served.gradient, rows, weights, noise=0, samples=2, seed=0)
    np.testing.assert_allclose(still, served.gradient(rows, weights), atol=1e-6)
    noisy = smooth_grad(served.gradient, rows, weights, noise=0.2, samples=9, seed=0)
    alone = smooth_grad(served.gradient, rows[1:2], weights[1:2], noise=0.2, samples=9, seed=0)
    np.testing.assert_allclose(noisy[1:2], alone, atol=1e-5)


def test_by_hand() -> None:
    """f(x) = x₁²: integrated from 0 to 3 all of 9 is x₁'s; two Gauss points are exact."""

    def gradient(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.stack([2 * rows[:, 0], 0 * rows[:, 1]], 1) * weights

    from services.explanation.attributions.integrated_gradients import integrated_gradients

    rule = Quadrature.of("gauss_legendre", 2)
    x, b, w = np.array([[3.0, 5.0]]), np.array([[0.0, 0.0]]), np.ones((1, 1))
    np.testing.assert_allclose(integrated_gradients(gradient, x, b, w, rule), [[9, 0]])
    mean, error = expected_gradients(gradient, x, b, w, samples=1000, seed=0)
    np.testing.assert_allclose(mean, [[9, 0]], atol=0.05)
    assert error[0, 1] == 0


@pytest.mark.parametrize("name", QUADRATURES)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_quadratures_weigh_one_and_integrate_lines(name: str, steps: int) -> None:
    rule = Quadrature.of(name, steps)
    assert rule.weights.sum() == pytest.approx(1)
    if name not in ("left", "right"):
        assert rule.weights @ rule.points == pytest.approx(0.5)


def test_maps_are_enlarged_between_centres() -> None:
    np.testing.assert_allclose(enlarged(np.array([[0.0, 4.0]]), [4]), [[0, 1, 3, 4]])
    assert enlarged(np.ones((2, 3, 5)), [6, 7]).shape == (2, 6, 7)


def test_layers_and_numbers_that_are_not_there_are_named(subject, lenet) -> None:
    with pytest.raises(InvalidArgument, match="no inner tensor 'conv9'; it has"):
        answer(subject, lenet, "grad_cam", layer="conv9")
    with pytest.raises(InvalidArgument, match="steps=-1: a whole number from 0"):
        answer(subject, lenet, "integrated_gradients", parameters={"steps": -1})
    with pytest.raises(InvalidArgument, match="saliency has no parameter 'steps'"):
        answer(subject, lenet, "saliency", parameters={"steps": 3})
    with pytest.raises(InvalidArgument, match=r"has \d+ units"):
        answer(subject, lenet, "neuron_conductance", parameters={"unit": 10**6})


def test_errors_of_a_token_are_of_its_sum() -> None:
    """What the parts of an embedding share does not average out between them."""
    slope = np.array([1.0, -2.0, 3.0])

    def gradient(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return (
            np.broadcast_to(slope[None, :, None] * rows[:, :, :1], rows.shape) * weights[..., None]
        )

    rng = np.random.default_rng(0)
    background = np.repeat(rng.normal(size=(5, 3, 1)), 4, axis=2)
    x, w = np.ones((1, 3, 4)), np.ones((1, 1))
    mean, error = expected_gradients(gradient, x, background, w, samples=50, seed=1)
    folded, of_sum = expected_gradients(
        gradient, x, background, w, samples=50, seed=1, folded=lambda share: share.sum(axis=2)
    )
    np.testing.assert_allclose(folded, mean.sum(axis=2))
    np.testing.assert_allclose(of_sum, error.sum(axis=2))
