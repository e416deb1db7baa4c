"""Of outputs with places the mean of a class over a region is explained: PyTorch's numbers."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from math import factorial
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn

from services.explanation.explain import ExplainQuery, Explanation, explain
from services.explanation.methods import attribution
from services.explanation.pictures import explanation_pictures
from services.explanation.regions import Region
from services.explanation.subject import Subject, Subjects
from wintergarden.errors import InvalidArgument, InvalidTensor
from wintergarden.runtime import RuntimeOptions
from wintergarden.store import ManifestFields, ModelStore, TensorInfo, open_store
from wintergarden.store.manifest import VocabularyInfo
from wintergarden.store.reference import write_reference

SIDE, CLASSES, ROWS = 6, 3, 4
RNG = np.random.default_rng(0)
IMAGES = RNG.random((ROWS, 1, SIDE, SIDE), np.float32)
MASK = RNG.random((SIDE, SIDE)) > 0.6
BOX = ((1, 4), (2, 6))
WORDS = ("the", "cat", "<sat>", "日本", "on")


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, CLASSES, 3, padding=1)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = 3 * self.layers(image)
        return logits, logits.softmax(1)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(3)
    return Segmenter().eval()


@pytest.fixture(scope="module")
def store(
    network: nn.Module,
    export_of: Callable[..., onnx.ModelProto],
    tmp_path_factory: pytest.TempPathFactory,
) -> ModelStore:
    store = open_store(str(tmp_path_factory.mktemp("store")))
    labels = np.zeros(ROWS, np.int64)
    with store.publish("segmenter") as draft:
        draft.write("model.onnx", export_of(network, IMAGES[:2], "image").SerializeToString())
        draft.write("reference.npz", write_reference({"image": IMAGES}, labels, 0 * IMAGES[:2]))
        draft.commit(
            ManifestFields(
                architecture="by-hand",
                task="segmentation",
                class_labels=("ground", "digit", "edge"),
                inputs=(TensorInfo(name="image", datatype="FP32", shape=(-1, 1, SIDE, SIDE)),),
                outputs=tuple(
                    TensorInfo(name=name, datatype="FP32", shape=(-1, CLASSES, SIDE, SIDE))
                    for name in ("logits", "probabilities")
                ),
            )
        )
    with store.publish("tagger") as draft:
        draft.write("model.onnx", tagger().SerializeToString())
        draft.commit(
            ManifestFields(
                architecture="by-hand",
                task="unknown",
                class_labels=("noun", "verb"),
                vocabulary=VocabularyInfo(level="word", tokens=WORDS, max_tokens=9),
                inputs=(TensorInfo(name="tokens", datatype="INT64", shape=(-1, -1)),),
                outputs=(TensorInfo(name="logits", datatype="FP32", shape=(-1, -1, 2)),),
            )
        )
    return store


def tagger() -> onnx.ModelProto:
    """Each position's logits look at its own token, and at half of the one before."""
    shift = np.zeros((3, 3), np.float32)
    table = RNG.normal(size=(len(WORDS) + 2, 3)).astype(np.float32)
    weights = RNG.normal(size=(3, 2)).astype(np.float32)
    shift[:] = 0.5 * np.eye(3)
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["looked_up"]),
        helper.make_node("Pad", ["looked_up", "pads"], ["moved"], mode="constant"),
        helper.make_node("MatMul", ["moved", "shift"], ["before"]),
        helper.make_node("Add", ["looked_up", "before"], ["both"]),
        helper.make_node("MatMul", ["both", "weights"], ["logits"]),
    ]
    made = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n", "t"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", "t", 2])],
        [
            numpy_helper.from_array(array, name)
            for name, array in {
                "table": table,
                "weights": weights,
                "shift": shift,
                "pads": np.int64([0, 1, 0, 0, -1, 0]),
            }.items()
        ],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


@pytest.fixture
def subject(store: ModelStore) -> Subject:
    return Subjects(store, RuntimeOptions(device="cpu"), 1 << 28).open(
        "segmenter", 0, lambda rows: None
    )


def answer(subject: Subject, method: str, rows: np.ndarray = IMAGES, **more) -> Explanation:
    return explain(attribution(method).run, subject, ExplainQuery(rows=rows, **more))


def masks_of(region: Region, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    masks = np.zeros((len(logits), *logits.shape[2:]), bool)
    match region:
        case np.ndarray():
            masks[:] = region
        case "everywhere":
            masks[:] = True
        case "" | "predicted":
            masks = logits.argmax(axis=1) == targets[:, None, None]
        case tuple():
            masks[:, region[0][0] : region[0][1], region[1][0] : region[1][1]] = True
    return masks


REGIONS = {"default": "", "predicted": "predicted", "everywhere": "everywhere", "box": BOX,
           "mask": MASK}  # fmt: skip


@pytest.mark.parametrize("region", REGIONS.values(), ids=list(REGIONS))
def test_the_gradient_is_pytorchs(subject: Subject, network: nn.Module, region: Region) -> None:
    found = answer(subject, "saliency", region=region)
    inputs = torch.tensor(IMAGES, requires_grad=True)
    logits = network(inputs)[0]
    masks = masks_of(region, logits.detach().numpy(), found.targets)
    shares = torch.tensor(masks / masks.sum(axis=(1, 2), keepdims=True))
    means = (logits * shares[:, None]).sum(dim=(2, 3))
    chosen = means[torch.arange(ROWS), torch.tensor(found.targets)]
    chosen.sum().backward()
    assert found.regions is not None
    np.testing.assert_array_equal(found.regions, masks)
    np.testing.assert_allclose(found.outputs, chosen.detach(), rtol=1e-5)
    np.testing.assert_allclose(found.attributions, inputs.grad, atol=1e-6)
    assert found.head.name == "logits"


def test_the_default_target_is_the_class_of_most_pixels(
    subject: Subject, network: nn.Module
) -> None:
    seen = network(torch.tensor(IMAGES))[0].argmax(1).numpy().reshape(ROWS, -1)
    most = [np.bincount(row, minlength=CLASSES).argmax() for row in seen]
    assert answer(subject, "saliency").targets.tolist() == most
    means = network(torch.tensor(IMAGES))[0].detach().numpy()[:, :, 1:4, 2:6].mean(axis=(2, 3))
    assert answer(subject, "saliency", region=BOX).targets.tolist() == means.argmax(1).tolist()


def test_kernel_shap_is_exact_enumeration(subject: Subject, network: nn.Module) -> None:
    """Of four superpixels, against the sum over all coalitions in PyTorch."""
    found = answer(subject, "kernel_shap", players=(2, 2), targets=(1,), region=BOX)
    half = SIDE // 2
    player = np.add.outer(2 * (np.arange(SIDE) >= half), np.arange(SIDE) >= half)

    def value(row: int, coalition: tuple[int, ...]) -> float:
        kept = np.where(np.isin(player, coalition), IMAGES[row], 0).astype(np.float32)
        with torch.no_grad():
            return float(network(torch.tensor(kept[None]))[0][0, 1, 1:4, 2:6].mean())

    for row in range(ROWS):
        for one in range(4):
            others = [p for p in range(4) if p != one]
            shapley = sum(
                factorial(size) * factorial(3 - size) / factorial(4)
                * (value(row, (*among, one)) - value(row, among))
                for size in range(4)
                for among in combinations(others, size)
            )  # fmt: skip
            assert found.player_values[row, one] == pytest.approx(shapley, abs=1e-5)
    assert np.abs(found.efficiency_gaps).max() < 1e-5


@pytest.mark.parametrize("method", ["integrated_gradients", "deep_shap", "expected_gradients"])
def test_what_adds_up_adds_up_over_each_rows_own_region(subject: Subject, method: str) -> None:
    found = answer(subject, method, parameters={}, background=0 * IMAGES[:1])
    each = [answer(subject, method, IMAGES[row : row + 1], background=0 * IMAGES[:1])
            for row in range(ROWS)]  # fmt: skip
    np.testing.assert_allclose(found.outputs, [one.outputs[0] for one in each], rtol=1e-5)
    if method != "expected_gradients":  # it draws by the row's place
        assert np.abs(found.efficiency_gaps).max() < 5e-3
        for row, one in enumerate(each):
            np.testing.assert_allclose(found.attributions[row], one.attributions[0], atol=1e-5)


def test_regions_of_one_make_up_the_whole(subject: Subject) -> None:
    """The gradient is linear: that everywhere is the mean of those of each half."""
    halves = [((0, 3), (0, SIDE)), ((3, SIDE), (0, SIDE))]
    parts = [answer(subject, "saliency", targets=(2,), region=half) for half in halves]
    whole = answer(subject, "saliency", targets=(2,), region="everywhere")
    mean = np.mean([part.attributions for part in parts], axis=0)
    np.testing.assert_allclose(whole.attributions, mean, atol=1e-6)


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ("nowhere", "known are everywhere, predicted"),
        (((0, 3),), r"0:3 is not within the places 0:6 × 0:6"),
        (((0, 7), (0, 1)), "not within"),
        (((2, 2), (0, 1)), "not within"),
        (np.ones((3, 3), bool), r"must be BOOL \[6, 6\], got bool \[3, 3\]"),
        (MASK.astype(np.float32), "got float32"),
        (np.zeros((SIDE, SIDE), bool), "no place in it"),
    ],
)
def test_a_region_that_there_is_not(subject: Subject, region: Region, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        answer(subject, "saliency", region=region)


def test_a_class_that_is_seen_nowhere(subject: Subject, network: nn.Module) -> None:
    seen = network(torch.tensor(IMAGES))[0].argmax(1).numpy()
    row, missing = next(
        (r, c) for r in range(ROWS) for c in range(CLASSES) if c not in seen[r]
    )  # fmt: skip
    with pytest.raises(InvalidArgument, match=f"class {missing} is predicted nowhere"):
        answer(subject, "saliency", IMAGES[row : row + 1], targets=(missing,))


def test_the_picture_shows_where(subject: Subject) -> None:
    explained = answer(subject, "saliency", IMAGES[:1])
    plain, wide = (
        Image.open(io.BytesIO(explanation_pictures(found)[0].content))
        for found in (replace(explained, regions=None), explained)
    )
    assert wide.width > 1.3 * plain.width


TOKENS = np.int64([[2, 3, 4, 5], [6, 3, 0, 0]])


@pytest.fixture
def texts(store: ModelStore) -> Subject:
    return Subjects(store, RuntimeOptions(device="cpu"), 1 << 28).open(
        "tagger", 0, lambda rows: None
    )


def test_a_sequence_is_explained_at_its_last_token(texts: Subject) -> None:
    found = answer(texts, "saliency", TOKENS)
    assert found.regions is not None
    assert found.regions.tolist() == [[False, False, False, True], [False, True, False, False]]
    looked_at = found.attributions > 0
    assert looked_at.tolist() == [[False, False, True, True], [True, True, False, False]]


def test_a_sequence_is_explained_where_one_says(texts: Subject) -> None:
    found = answer(texts, "integrated_gradients", TOKENS, region=((1, 2),), targets=(0,))
    assert (found.attributions != 0).tolist() == 2 * [[True, True, False, False]]
    np.testing.assert_allclose(found.attributions.sum(1), found.outputs - found.base_values,
                               atol=1e-3)  # fmt: skip


def test_each_token_plays_against_the_unknown_one(texts: Subject) -> None:
    """The tagger is linear: a token's Shapley value is what it adds over the unknown token."""
    found = answer(texts, "kernel_shap", TOKENS, targets=(1,))
    alone = answer(texts, "kernel_shap", TOKENS[1:, :2], targets=(1,))
    np.testing.assert_allclose(found.player_values[1, :2], alone.player_values[0], atol=1e-6)
    assert found.player_values[1, 2:].tolist() == [0, 0]
    assert np.abs(found.efficiency_gaps).max() < 1e-6
    assert found.is_exact
    for row, ids in enumerate(TOKENS):
        for place in np.flatnonzero(ids):
            changed = ids.copy()
            changed[place] = 1
            other = answer(texts, "saliency", changed[None], targets=(1,)).outputs[0]
            assert found.player_values[row, place] == pytest.approx(
                found.outputs[row] - other, abs=1e-5
            )


def test_a_background_of_another_length_is_refused(texts: Subject) -> None:
    with pytest.raises(InvalidTensor, match=r"of shape \[3\] for rows of \[4\]"):
        answer(texts, "kernel_shap", TOKENS, background=np.ones((1, 3), np.int64))


def test_the_picture_of_a_text_is_its_tokens(texts: Subject) -> None:
    first, second = explanation_pictures(answer(texts, "saliency", TOKENS))
    assert (first.name, first.media_type) == ("saliency-0.svg", "image/svg+xml")
    drawn = ElementTree.fromstring(second.content.decode())
    space = "{http://www.w3.org/2000/svg}"
    cells = [group.find(f"{space}text") for group in drawn.iter(f"{space}g")]
    assert [cell.text for cell in cells if cell is not None] == ["on", "cat"]
    words = [t.text for t in ElementTree.fromstring(first.content.decode()).iter(f"{space}text")]
    assert {"the", "cat", "<sat>", "日本"} <= set(words)
