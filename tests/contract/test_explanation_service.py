"""The explanation service over a real socket, on both transports, with models done by hand."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import wintergarden
from services.explanation.app import App, create_app
from services.explanation.settings import ExplanationSettings
from wintergarden.client import Client
from wintergarden.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    InvalidTensor,
    NotFound,
    Overloaded,
    Unsupported,
)
from wintergarden.service.testing import details_of
from wintergarden.store import ManifestFields, ModelStore, TensorInfo, open_store
from wintergarden.store.reference import write_reference
from wintergarden.wire import explanation_pb2 as pb
from wintergarden.wire import tensors
from wintergarden.wire.pool import methods
from wintergarden.wire.tensors import datatype_of

WEIGHTS = np.float32([[1, 0, -1], [2, -2, 0], [0, 3, 0], [0.5, 0.5, 4]])
SERVICE = methods("wintergarden.v1.ExplanationService")
FLOAT = TensorProto.FLOAT


def graph(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str]],
    constants: dict[str, np.ndarray],
) -> bytes:
    made = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info(n, FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def linear(tail: list[onnx.NodeProto], outputs: list[str]) -> bytes:
    nodes = [helper.make_node("MatMul", ["features", "w"], ["logits"]), *tail]
    return graph(
        nodes,
        {"features": ["n", 4]},
        {name: ["n", 3] for name in outputs},
        {"w": WEIGHTS},
    )


def publish(
    store: ModelStore, name: str, model: bytes, reference: bytes | None = None, **fields: object
) -> None:
    described = onnx.load_model_from_string(model)

    def infos(values: list[onnx.ValueInfoProto], **more: object) -> tuple[TensorInfo, ...]:
        return tuple(
            TensorInfo(
                name=v.name,
                datatype=datatype_of(helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type)),
                shape=[d.dim_value or -1 for d in v.type.tensor_type.shape.dim],
                **more,
            )
            for v in values
        )

    value_range, units = fields.pop("value_range", None), fields.pop("units", "")
    with store.publish(name) as draft:
        draft.write("model.onnx", model)
        if reference is not None:
            draft.write("reference.npz", reference)
        draft.commit(
            ManifestFields(
                architecture="by-hand",
                task=fields.pop("task", "tabular-classification"),
                inputs=infos(described.graph.input, value_range=value_range, units=units),
                outputs=infos(described.graph.output),
                **fields,
            )
        )


@pytest.fixture(scope="module")
def store_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("store"))
    store = open_store(path)
    rng = np.random.default_rng(0)
    rows = rng.random((50, 4), np.float32)
    labels = (rows @ WEIGHTS).argmax(axis=1)
    softmax = helper.make_node("Softmax", ["logits"], ["probabilities"])
    background = rng.random((40, 4), np.float32)
    publish(
        store, "linear", linear([softmax], ["logits", "probabilities"]),
        write_reference({"features": rows}, labels, background),
        value_range=(0, 1), units="metres, above the sea", class_labels=("a", "b", "c"),
    )  # fmt: skip
    publish(store, "probabilities", linear([softmax], ["probabilities"]))
    publish(
        store, "sigmoid",
        linear([helper.make_node("Sigmoid", ["logits"], ["scores"])], ["scores"]),
    )  # fmt: skip
    publish(
        store, "opaque",
        graph(
            [
                helper.make_node("Det", ["features"], ["d"], name="determinant"),
                helper.make_node("Unsqueeze", ["d", "axis"], ["logits"]),
            ],
            {"features": ["n", 4, 4]}, {"logits": ["n", 1]}, {"axis": np.array([1])},
        ),
    )  # fmt: skip
    publish(
        store, "two-inputs",
        graph([helper.make_node("Add", ["a", "b"], ["y"])],
              {"a": ["n", 4], "b": ["n", 4]}, {"y": ["n", 4]}, {}),
    )  # fmt: skip
    kernel = rng.normal(size=(2, 1, 3, 3)).astype(np.float32)
    publish(
        store, "image",
        graph(
            [
                helper.make_node("Conv", ["image", "k"], ["c"]),
                helper.make_node("Relu", ["c"], ["r"]),
                helper.make_node("GlobalAveragePool", ["r"], ["g"]),
                helper.make_node("Flatten", ["g"], ["logits"]),
            ],
            {"image": ["n", 1, 12, 12]}, {"logits": ["n", 2]}, {"k": kernel},
        ),
        write_reference(
            {"image": rng.random((30, 1, 12, 12), np.float32)}, rng.integers(0, 2, 30),
            rng.random((20, 1, 12, 12), np.float32),
        ),
        task="image-classification", value_range=(0, 1), units="intensity",
    )  # fmt: skip
    publish(
        store, "map",
        graph(
            [helper.make_node("Conv", ["image", "k"], ["logits"])],
            {"image": ["n", 1, 12, 12]}, {"logits": ["n", 2, 10, 10]}, {"k": kernel},
        ),
        task="segmentation", value_range=(0, 1), class_labels=("ground", "digit"),
    )  # fmt: skip
    publish(
        store, "steps",
        graph([helper.make_node("MatMul", ["features", "w"], ["logits"])],
              {"features": ["n", "t", 4]}, {"logits": ["n", "t", 3]}, {"w": WEIGHTS}),
    )  # fmt: skip
    letters = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 20]>
        g (int64[n, t] tokens) => (float[n, 2] logits) {
            letters = Gather(table, tokens)
            axis = Constant<value_ints = [1]>()
            bag = ReduceSum<keepdims = 0>(letters, axis)
            logits = MatMul(bag, w)
        }"""
    )
    table = np.array([[0, 0], [0, 0], [1, 0], [0, 1], [3, 0]], np.float32)  # -, ?, a, b, c
    for name, values in (("table", table), ("w", np.eye(2, dtype=np.float32))):
        letters.graph.initializer.append(numpy_helper.from_array(values, name))
    publish(
        store, "letters", letters.SerializeToString(),
        write_reference({"tokens": np.array([[2, 2, 3], [3, 3, 0]])}, np.array([0, 1]),
                        np.zeros((1, 3), np.int64)),
        task="text-classification", class_labels=("of a", "of b"),
        vocabulary={"level": "character", "tokens": ("a", "b", "c"), "max_tokens": 8},
    )  # fmt: skip
    return path


@dataclass
class Room:
    app: App
    address: str
    client: Client

    def call(self, method: str, request: object, timeout: float = 30) -> object:
        """One call as any gRPC client makes it."""
        path, response = SERVICE[method].path, SERVICE[method].response
        with grpc.insecure_channel(self.address) as channel:
            call = channel.unary_unary(path, lambda r: r.SerializeToString(), response.FromString)
            return call(request, timeout=timeout)


@pytest.fixture(scope="module", params=["native", "grpcio"])
def room(request: pytest.FixtureRequest, store_uri: str) -> Iterator[Room]:
    settings = ExplanationSettings(
        address="127.0.0.1:0", store_uri=store_uri, metrics_address=None, transport=request.param,
        max_running=1, max_waiting=1,
    )  # fmt: skip
    app = create_app(settings)
    app.start()
    address = f"127.0.0.1:{app.server.ports[0]}"
    try:
        yield Room(app, address, wintergarden.connect(address))
    finally:
        app.stop(1)


X = np.float32([[0.1, 0.9, 0.3, 0.2], [0.5, 0.2, 0.8, 0.6]])


def test_methods_are_listed(room: Room) -> None:
    found = {m.name: m for m in room.client.explanation_methods()}
    assert {"kernel_shap", "saliency", "fgsm"} <= set(found)
    assert not found["kernel_shap"].needs_gradient
    assert found["fgsm"].kind == "attack"
    assert "arXiv" in found["fgsm"].source
    steps = next(p for p in found["pgd"].parameters if p.name == "steps")
    assert (steps.default, steps.least, steps.is_whole) == (40, 1, True)


def test_shap_values_of_a_linear_model_are_its_weights_times_the_distance(room: Room) -> None:
    answer = room.client.explain("linear", X, targets=[1, 2])
    assert answer.is_exact
    assert (answer.output_name, answer.output_space) == ("logits", "logit")
    assert answer.background == "expectation over 20 of 40 training examples"
    assert answer.model.version == 1
    assert len(answer.model.digest) == 64
    base = answer.base_values
    np.testing.assert_allclose(answer.outputs, [X[0] @ WEIGHTS[:, 1], X[1] @ WEIGHTS[:, 2]], 1e-6)
    np.testing.assert_allclose(answer.player_values.sum(axis=1), answer.outputs - base, atol=1e-9)
    difference = answer.player_values[0] / np.where(WEIGHTS[:, 1] == 0, 1, WEIGHTS[:, 1])
    given = room.client.explain("linear", X, targets=[1, 2], background=np.zeros((1, 4)))
    np.testing.assert_allclose(given.player_values, X * WEIGHTS[:, [1, 2]].T, atol=1e-6)
    np.testing.assert_array_equal(given.attributions, given.player_values)
    assert given.background == "expectation over 1 rows of the request"
    assert np.isfinite(difference).all()
    assert not answer.standard_errors.any()


def test_the_mean_as_the_one_baseline(room: Room) -> None:
    request = pb.ExplainRequest(
        model_name="linear", method="kernel_shap", input=tensors.to_message("features", X),
        background=tensors.to_message("", np.float32([[0, 0, 0, 0], [1, 1, 1, 1]])),
        background_summary="mean", targets=[1],
    )  # fmt: skip
    answer = room.call("Explain", request)
    np.testing.assert_allclose(
        tensors.from_message(answer.player_values), (X - 0.5) * WEIGHTS[:, 1], atol=1e-6
    )
    assert answer.background == "mean of 2 rows of the request as one baseline"
    request.background_summary = "median"
    with pytest.raises(grpc.RpcError, match="known are mean, sample"):
        room.call("Explain", request)


def test_the_predicted_class_is_explained_by_default(room: Room) -> None:
    answer = room.client.explain("linear", X)
    assert answer.targets == tuple((X @ WEIGHTS).argmax(axis=1))


def test_saliency_of_a_linear_model_is_its_weights(room: Room) -> None:
    answer = room.client.explain("linear", X, "saliency", targets=[0, 2])
    np.testing.assert_array_equal(answer.attributions, WEIGHTS[:, [0, 2]].T)
    assert answer.player_values.shape == (2, 0)
    assert answer.evaluations == 4


def test_fgsm_goes_down_the_margin_within_epsilon_and_the_range(room: Room) -> None:
    answer = room.client.attack("linear", X[:1], epsilon=0.3, labels=[1])
    moved, x = answer.adversarial.astype(np.float64), X[:1].astype(np.float64)
    assert (np.abs(moved - x) <= 0.3).all()
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert moved[0, 2] == pytest.approx(0, abs=1e-6)  # 0.3 − 0.3: only class b rises with it
    assert answer.units == "metres"
    assert answer.value_range == (0, 1)
    assert answer.distances_linf[0] == np.abs(moved - x).max()


def test_the_smallest_change_of_a_linear_model_is_the_way_to_its_nearest_border(room: Room) -> None:
    """‖r‖ = min over classes k of (z_y − z_k) / ‖w_y − w_k‖."""
    wide = {"norm": "l2", "value_range": (-10, 10), "parameters": {"overshoot": 0.0}}
    answer = room.client.attack("linear", X, "deepfool", **wide)
    slopes = WEIGHTS.T.astype(np.float64)
    z = X.astype(np.float64) @ WEIGHTS
    for row in range(2):
        y = z[row].argmax()
        away = [
            (z[row, y] - z[row, k]) / np.linalg.norm(slopes[y] - slopes[k])
            for k in range(3)
            if k != y
        ]
        assert answer.distances_l2[row] == pytest.approx(min(away), rel=2e-3)
    assert all(answer.successes)
    assert answer.norm == "l2"
    assert answer.epsilon == 0
    assert (answer.queries >= 2).all()
    assert (answer.gradients >= 1).all()


def test_only_what_may_change_does(room: Room) -> None:
    mask = np.array([False, True, False, True])
    answer = room.client.attack("linear", X, "pgd", epsilon=0.2, changeable=mask)
    changed = (answer.adversarial != X).any(axis=0)
    np.testing.assert_array_equal(changed, mask)


def test_a_text_is_flipped_letter_by_letter(room: Room) -> None:
    answer = room.client.attack(
        "letters", [[3, 3, 2], [3, 0, 0]], "hotflip", epsilon=2, render=True
    )
    assert answer.norm == "l0"
    assert answer.adversarial.tolist() == [[4, 3, 2], [4, 0, 0]]  # c says a three times over
    assert list(answer.distances_l0) == [1, 1]
    assert (answer.distances_linf.size, answer.distances_l2.size) == (0, 0)
    assert answer.successes == (True, True)
    first = answer.pictures[0]
    assert (first.name, first.media_type) == ("hotflip-0.svg", "image/svg+xml")
    assert "1 of 3 tokens flipped" in first.content.decode()
    held = room.client.attack("letters", [[3, 3, 3, 3, 3]], "hotflip", epsilon=1, targets=[0])
    assert held.successes == (False,)  # three against four
    curve = room.client.robustness("letters", "hotflip")
    assert list(curve.epsilons) == [0, 1, 2, 3, 4, 5]
    assert list(curve.accuracies) == [1, 0, 0, 0, 0, 0]
    with pytest.raises(Unsupported, match="hotflip, which flips tokens"):
        room.client.attack("letters", [[2, 3]], "pgd", epsilon=1)
    with pytest.raises(InvalidArgument, match="norm 'linf'; norms of hotflip are l0"):
        room.client.attack("letters", [[2, 3]], "hotflip", epsilon=1, norm="linf")
    with pytest.raises(InvalidArgument, match="hotflip changes whole places"):
        room.client.robustness("letters", "hotflip", epsilons=[0, 0.5])
    with pytest.raises(InvalidArgument, match="hotflip changes whole places"):
        room.client.attack("letters", [[2, 3]], "hotflip", epsilon=1.5)


def test_of_a_group_of_columns_one_is_one(room: Room) -> None:
    rows = np.array([[0.5, 1, 0, 0], [0.1, 0, 0, 1]], np.float32)
    groups = [(1, 2, 3)]
    answer = room.client.attack("linear", rows, "hotflip", epsilon=1, one_of=groups)
    np.testing.assert_array_equal(answer.adversarial[:, 0], rows[:, 0])
    assert (answer.adversarial[:, 1:].sum(axis=1) == 1).all()
    assert set(answer.distances_l0) <= {0, 1}
    by_degrees = room.client.attack("linear", rows, "pgd", epsilon=0.3, one_of=groups)
    np.testing.assert_array_equal(by_degrees.adversarial[:, 1:], rows[:, 1:])
    assert (by_degrees.adversarial[:, 0] != rows[:, 0]).all()
    few = {"one_of": groups, "changeable": [True, False]}
    with pytest.raises(InvalidTensor, match=r"has shape \[2\], a row of the input \[4\]"):
        room.client.attack("linear", rows, "hotflip", epsilon=1, **few)
    with pytest.raises(InvalidTensor, match="one of these columns must be 1"):
        room.client.attack("linear", X, "hotflip", epsilon=1, one_of=groups)
    with pytest.raises(Unsupported, match="name a group of columns in one_of"):
        room.client.attack("linear", X, "hotflip", epsilon=1)


def test_a_softmax_is_attacked_at_its_logits(room: Room) -> None:
    request = pb.AttackRequest(
        model_name="probabilities", method="fgsm", epsilon=0.1,
        input=tensors.to_message("", X), targets=[2],
    )  # fmt: skip
    answer = room.call("Attack", request)
    assert answer.output_name == "logits"  # an inner tensor of this graph
    assert list(answer.value_range) == []
    expected = X + np.float32(0.1) * np.sign(WEIGHTS[:, 2] - WEIGHTS[:, [0, 1]].mean(axis=1))
    np.testing.assert_allclose(tensors.from_message(answer.adversarial)[0, 3], expected[0, 3], 1e-6)
    with pytest.raises(Unsupported, match="no Softmax of the graph makes"):
        room.client.attack("sigmoid", X, epsilon=0.1)


def test_models_are_analysed_together(room: Room) -> None:
    asked = [wintergarden.client.Measured("linear", 0, 1.5, 2000.0), "probabilities"]
    answer = room.client.analyse(asked, render=True)
    linear, probabilities = answer.models
    assert linear.operations == 2 * 4 * 3 + 3  # another operator with its three outputs
    assert linear.parameters == WEIGHTS.size
    assert linear.peak_activation_bytes == 2 * 3 * 4
    assert (linear.latency_ms, linear.rows_per_s) == (1.5, 2000)
    assert probabilities.operations == linear.operations
    assert probabilities.latency_ms == 0
    [picture] = answer.pictures
    assert Image.open(io.BytesIO(picture.content)).width > 1000
    with pytest.raises(NotFound, match="nothing"):
        room.client.analyse(["nothing"])
    with pytest.raises(InvalidArgument, match="0 models; 1 to 500 are allowed"):
        room.client.analyse([])


def test_lengths_are_swept(room: Room) -> None:
    lengths = (8, 32, 128)
    asked = [wintergarden.client.Measured("steps", latency_ms=n / 8, length=n) for n in lengths]
    answer = room.client.analyse([*asked, "linear"], render=True)
    *steps, linear = answer.models
    assert [a.length for a in steps] == list(lengths)
    assert [a.operations for a in steps] == [n * 2 * 4 * 3 for n in lengths]
    assert steps[0].has_open_axes
    assert not linear.has_open_axes
    assert [picture.name for picture in answer.pictures] == ["analysis.png", "lengths.png"]
    with pytest.raises(InvalidArgument, match=r"length=100001: 0 \(default\) to 100000"):
        room.client.analyse([wintergarden.client.Measured("steps", length=100_001)])


def test_a_map_is_explained_over_a_region(room: Room) -> None:
    image = np.random.default_rng(5).random((1, 1, 12, 12), np.float32)
    mask = np.zeros((10, 10), bool)
    mask[2:4, 5] = True
    for region, expected in {"everywhere": 100, (3, 4): 1, ((0, 2), (0, 10)): 20}.items():
        answer = room.client.explain("map", image, "saliency", targets=[1], region=region)
        assert answer.regions.shape == (1, 10, 10)
        assert answer.regions.sum() == expected
    answer = room.client.explain(
        "map", image, "input_x_gradient", targets=[1], region=mask, render=True
    )
    np.testing.assert_array_equal(answer.regions[0], mask)
    assert answer.attributions.sum() == pytest.approx(answer.outputs[0], rel=1e-4)  # no bias
    assert not answer.attributions[0, 0, 6:].any()  # what the mask does not see
    assert answer.pictures[0].media_type == "image/png"
    default = room.client.explain("map", image, "saliency")
    assert default.regions.sum() >= 50  # the class of most pixels, where it is predicted
    with pytest.raises(InvalidArgument, match="has no places"):
        room.client.explain("linear", X, region="everywhere")
    with pytest.raises(InvalidArgument, match="want 'everywhere', 'predicted'"):
        room.client.explain("map", image, region="elsewhere")


def test_two_models_are_attacked_over_the_same_examples(room: Room) -> None:
    answer = room.client.robustness("linear", epsilons=[0, 0.2], beside="linear", render=True)
    assert answer.beside.name == "linear"
    np.testing.assert_array_equal(answer.accuracies, answer.accuracies_beside)
    with pytest.raises(NotFound, match="nothing"):
        room.client.robustness("linear", epsilons=[0], beside="nothing")


def test_robustness_falls_from_the_clean_accuracy(room: Room) -> None:
    answer = room.client.robustness("linear", render=True)
    assert answer.examples == 50
    assert answer.accuracies[0] == 1
    assert (np.diff(answer.accuracies) <= 0).all()
    assert answer.accuracies[-1] < 0.5
    np.testing.assert_allclose(answer.epsilons, np.arange(7) * 0.05)
    some = room.client.robustness("linear", epsilons=[0.2], max_examples=10)
    assert some.examples == 10


def test_pictures(room: Room) -> None:
    image = np.random.default_rng(1).random((2, 1, 12, 12), np.float32)
    answers = [
        room.client.explain("image", image, render=True),
        room.client.explain("image", image, "saliency", render=True),
        room.client.explain("linear", X, render=True),
        room.client.attack("image", image, epsilon=0.1, render=True),
    ]
    for answer in answers:
        assert len(answer.pictures) == 2
        for picture in answer.pictures:
            assert picture.media_type == "image/png"
            assert Path(picture.name).suffix == ".png"
            assert Image.open(io.BytesIO(picture.content)).width > 600
    assert room.client.explain("image", image).pictures == ()
    assert answers[0].player_values.shape == (2, 49)
    assert answers[0].attributions.shape == image.shape
    assert answers[0].background == "mean of 20 training examples as one baseline"


def test_players_of_the_callers_choice(room: Room) -> None:
    image = np.random.default_rng(1).random((1, 1, 12, 12), np.float32)
    grid = room.client.explain("image", image, players=(3, 4))
    assert grid.player_values.shape == (1, 12)
    assert grid.is_exact
    mask = (np.arange(144).reshape(1, 12, 12) >= 72).astype(np.int64)
    halves = room.client.explain("image", image, players=mask)
    assert halves.player_values.shape == (1, 2)
    np.testing.assert_array_equal(np.unique(halves.attributions), np.unique(halves.player_values))
    features = room.client.explain("image", image, players="features", max_evaluations=400)
    assert features.player_values.shape == (1, 144)
    assert not features.is_exact


EXPLAIN_MISTAKES = [
    ({"model": "nobody"}, NotFound, r"no model 'nobody'; there are image, letters, linear"),
    ({"version": 9}, NotFound, r"no version 9; there are 1"),
    ({"version": -1}, InvalidArgument, "model_version=-1"),
    ({"method": "lime"}, InvalidArgument, "no method 'lime'; attributions are kernel_shap, act"),
    ({"method": "fgsm"}, InvalidArgument, "'fgsm' is an attack; attributions are kernel_shap"),
    ({"output_name": "loss"}, InvalidArgument, "no float output 'loss'; it has logits, prob"),
    ({"targets": [3]}, InvalidArgument, "targets: 3 is not among 0 to 2"),
    ({"targets": [0, 1, 2]}, InvalidArgument, "3 targets for 2 rows"),
    ({"players": (2, 2)}, InvalidArgument, "a grid needs an image"),
    ({"players": np.array([0, 2, 0, 0])}, InvalidTensor, "without gaps"),
    ({"max_evaluations": 7}, InvalidArgument, "max_evaluations=7: 4 players against 20"),
    ({"max_evaluations": -1}, InvalidArgument, "max_evaluations=-1"),
    ({"seed": -1, "max_evaluations": 300}, InvalidArgument, "seed=-1"),
    ({"inputs": X[:, :3]}, InvalidTensor, r"must be FP32 \[-1, 4\], got FP32 \[2, 3\]"),
    ({"inputs": X.astype(np.int64)}, InvalidTensor, r"must be FP32 \[-1, 4\], got INT64 \[2, 4\]"),
    ({"inputs": X[:0]}, InvalidTensor, "0 rows; 1 to 1000 are allowed"),
    ({"inputs": X * np.float32(np.nan)}, InvalidTensor, "NaN or infinity"),
    ({"background": X[:, :3]}, InvalidTensor, r"background 'features' must be FP32"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "error", "message"), EXPLAIN_MISTAKES, ids=str)
def test_mistakes_are_named(room: Room, change: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        room.client.explain(**({"model": "linear", "inputs": X} | change))


@pytest.mark.parametrize("epsilon", [np.nan, np.inf, -0.1])
def test_epsilon_must_mean_something(room: Room, epsilon: float) -> None:
    with pytest.raises(InvalidArgument, match="L-infinity norm in units of metres"):
        room.client.attack("linear", X, epsilon=epsilon)


def test_more_mistakes_of_attacks(room: Room) -> None:
    attack = room.client.attack
    with pytest.raises(InvalidTensor, match=r"spans \[.*\], its valid range is \[0, 1\] in metres"):
        attack("linear", X + 1, epsilon=0.1)
    with pytest.raises(InvalidArgument, match="the first must be below the second"):
        attack("linear", X, epsilon=0.1, value_range=(1, 0))
    with pytest.raises(InvalidArgument, match="labels: 7 is not among 0 to 2"):
        attack("linear", X, epsilon=0.1, labels=[7])
    with pytest.raises(InvalidArgument, match="attacks are fgsm"):
        attack("linear", X, "saliency", epsilon=0.1)
    with pytest.raises(InvalidArgument, match="steps=0: a whole number from 1 to 10000"):
        attack("linear", X, "pgd", epsilon=0.1, parameters={"steps": 0})
    with pytest.raises(InvalidArgument, match="fgsm has no parameter 'steps'; it has none"):
        attack("linear", X, epsilon=0.1, parameters={"steps": 3})
    with pytest.raises(InvalidArgument, match="norm 'l1'; norms of fgsm are linf, l2"):
        attack("linear", X, epsilon=0.1, norm="l1")
    with pytest.raises(InvalidArgument, match="deepfool looks for the smallest change"):
        attack("linear", X, "deepfool", epsilon=0.1)
    with pytest.raises(InvalidTensor, match=r"has shape \[3\], a row of the input \[4\]"):
        attack("linear", X, epsilon=0.1, changeable=[True, True, False])
    with pytest.raises(InvalidArgument, match="no valid range to take radii from"):
        room.client.robustness("probabilities")
    with pytest.raises(FailedPrecondition, match="came without reference examples"):
        room.client.robustness("probabilities", epsilons=[0.1])
    with pytest.raises(FailedPrecondition, match="came without reference examples"):
        room.client.explain("probabilities", X)


def test_what_a_model_cannot_do_is_said_with_the_way_out(room: Room) -> None:
    x = np.random.default_rng(0).random((1, 4, 4), np.float32)
    with pytest.raises(Unsupported, match=r"Det \(node 'determinant'\).*kernel_shap"):
        room.client.explain("opaque", x, "saliency")
    answer = room.client.explain("opaque", x, players=(2, 2), background=np.zeros((1, 4, 4)))
    assert abs(answer.efficiency_gaps[0]) < 1e-6
    with pytest.raises(Unsupported, match="has the inputs a, b; explained is 'a', so send b as"):
        room.client.explain("two-inputs", X)
    more = room.client.explain("two-inputs", X, "saliency", targets=[2], context={"b": 2 * X})
    assert more.outputs == pytest.approx(3 * X[:, 2])
    with pytest.raises(Unsupported, match="has the inputs a, b; explained is one of them"):
        room.client.attack("two-inputs", X, epsilon=0.1)


def test_an_input_by_another_name(room: Room) -> None:
    request = pb.ExplainRequest(
        model_name="linear", method="saliency", input=tensors.to_message("pixels", X)
    )
    with pytest.raises(grpc.RpcError, match="has the input 'features', got 'pixels'") as error:
        room.call("Explain", request)
    assert details_of(error.value)["BadRequest"].field_violations[0].field == "input"
    with pytest.raises(grpc.RpcError, match="the request has no input"):
        room.call("Explain", pb.ExplainRequest(model_name="linear", method="saliency"))


SLOW = {"model": "image", "players": "features", "max_evaluations": 100_000}
IMAGES = np.random.default_rng(1).random((40, 1, 12, 12), np.float32)


def test_a_deadline_ends_the_work_and_gives_the_turn_to_the_next(room: Room) -> None:
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        room.client.explain(inputs=IMAGES, timeout_s=0.5, **SLOW)
    room.client.explain("linear", X)  # waits for the turn
    assert time.monotonic() - start < 5


def test_beyond_the_waiting_places_requests_are_refused_at_once(room: Room) -> None:
    end = time.monotonic() + 4

    def occupy() -> None:
        """One comes to run and one to wait, whatever the probe below takes from them."""
        while (left_s := end - time.monotonic()) > 0:
            try:
                room.client.explain(inputs=IMAGES, timeout_s=left_s, **SLOW)
            except DeadlineExceeded:
                return
            except Overloaded:
                time.sleep(0.01)

    threads = [threading.Thread(target=occupy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        while time.monotonic() < end - 1:
            try:
                room.client.explain("linear", X, timeout_s=0.2)
            except Overloaded as error:
                assert "1 requests are running and 1 waiting already" in str(error)
                break
            except DeadlineExceeded:
                continue
        else:
            pytest.fail("nobody was refused")
        assert room.client.explanation_methods()  # listing needs no turn
    finally:
        for thread in threads:
            thread.join()
        _wait_until_free(room)


def _wait_until_free(room: Room) -> None:
    """What its callers have left ends at its next look, which may be after their return."""
    end = time.monotonic() + 60
    while True:
        try:
            room.client.explain("linear", X, timeout_s=30)
            return
        except (Overloaded, DeadlineExceeded):
            assert time.monotonic() < end
            time.sleep(0.05)


def test_the_model_is_as_it_was(room: Room, store_uri: str) -> None:
    """Explaining changes nothing: same digest, same answer."""
    first, again = (room.client.explain("linear", X) for _ in range(2))
    np.testing.assert_array_equal(first.player_values, again.player_values)
    assert first.model == again.model
    assert open_store(store_uri).read_manifest("linear", 1).digest == first.model.digest
