"""What is published of a trained network: every graph of it proved, or left out and said so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from trainer.data.registry import load
from trainer.export import variants
from trainer.export.operators import HEAVY, read_outs
from trainer.export.parity import run_onnx
from trainer.export.publish import publish
from trainer.export.release import Release, kept_rows, make_release
from trainer.recipes.supervised import train
from trainer.recipes.trained import Trained
from trainer.zoo.registry import find
from wintergarden.errors import Cancelled
from wintergarden.runtime import RuntimeOptions, Session, open_session
from wintergarden.store import open_store
from wintergarden.store.golden import replay
from wintergarden.store.promotion import metrics_of

BOTH = ("fp16", "int8")


def train_small(architecture: str, dataset: str, **values: Any) -> Trained:
    found = find(architecture)
    return train(found, found.hyperparameters.parse(values), load(dataset), seed=0)


@pytest.fixture(scope="module")
def lenet5() -> Trained:
    return train_small("lenet5", "digits", epochs=4, augment=False)


@pytest.fixture(scope="module")
def release(lenet5: Trained) -> Release:
    return make_release(lenet5, "digits", BOTH, warn=pytest.fail)


def graph_of(release: Release, name: str) -> onnx.GraphProto:
    return onnx.load_from_string(release.files[name]).graph


def session_of(release: Release, name: str) -> Session:
    return open_session(release.files[name], RuntimeOptions(device="cpu"))


def test_every_metric_that_may_have_a_condition_is_measured(release: Release) -> None:
    of_other_tasks = [
        name
        for name in metrics_of(BOTH)
        if name.removeprefix("test_").removeprefix("validation_").split("_fp")[0].split("_int")[0]
        in ("bits_per_character", "exact_match", "macro_f1", "mae", "mean_iou", "r2", "rmse")
    ]
    assert sorted([*release.fields.metrics, *of_other_tasks]) == metrics_of(BOTH)


def test_variants_are_smaller_and_nearly_as_good(release: Release) -> None:
    metrics = release.fields.metrics
    assert metrics["test_accuracy"] > 0.9
    assert metrics["bytes_fp16"] < 0.65 * metrics["bytes"]
    assert metrics["bytes_int8"] < 0.5 * metrics["bytes"]
    for precision in BOTH:
        assert abs(metrics[f"test_accuracy_{precision}"] - metrics["test_accuracy"]) <= 0.01
        assert metrics[f"speedup_{precision}"] > 0


def test_each_is_held_to_the_golden_outputs_with_its_own_tolerance(release: Release) -> None:
    tolerances = release.fields.tolerances
    assert tolerances["fp32"] < tolerances["fp16"] < tolerances["int8"]
    for precision, name in (("fp16", "model.fp16.onnx"), ("int8", "model.int8.onnx")):
        session = session_of(release, name)

        def run(feeds: dict[str, Any], session: Session = session) -> dict[str, Any]:
            (inputs,) = feeds.values()
            return run_onnx(session, inputs)

        worst = replay(run, release.files["golden.npz"], tolerances[precision])
        assert 1e-6 < worst <= tolerances[precision] / variants.HEADROOM


def test_the_manifest_has_the_worst_difference_of_each_output(release: Release) -> None:
    parity = release.fields.parity
    assert parity.keys() == {"fp32", "fp16", "int8"}
    for worst in parity.values():
        assert worst.keys() == {"logits", "probabilities"}
    assert max(parity["fp32"].values()) == release.fields.metrics["export_parity"] <= 1e-4


def test_inputs_and_outputs_stay_float32_and_batches_dynamic(release: Release) -> None:
    plain = graph_of(release, "model.onnx")
    for name in ("model.fp16.onnx", "model.int8.onnx"):
        graph = graph_of(release, name)
        assert [v.name for v in graph.input] == [v.name for v in plain.input]
        assert [v.name for v in graph.output] == [v.name for v in plain.output]
        for value in (*graph.input, *graph.output):
            assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
            assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_fp16_computes_where_the_weights_are_and_standardises_in_float32(
    release: Release, lenet5: Trained
) -> None:
    model = onnx.shape_inference.infer_shapes(
        onnx.load_from_string(release.files["model.fp16.onnx"])
    )
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    types |= {w.name: w.data_type for w in model.graph.initializer}
    heavy = [node for node in model.graph.node if node.op_type in HEAVY]
    assert heavy
    for node in heavy:
        assert {types[name] for name in node.input} == {onnx.TensorProto.FLOAT16}
    # Raw values that float16 cannot hold are brought down before it sees them.
    session = session_of(release, "model.fp16.onnx")
    huge = np.full((1, *lenet5.dataset.info.input_shape), 7e4, np.float32)
    with np.errstate(all="ignore"):
        assert "float16" not in str(session.inputs[0])
        assert run_onnx(session, huge)["probabilities"].shape == (1, 10)


def test_int8_leaves_what_answers_are_read_from_in_float(release: Release) -> None:
    graph = graph_of(release, "model.int8.onnx")
    quantised = {name for node in graph.node if node.op_type == "DequantizeLinear"
                 for name in node.output}  # fmt: skip
    read = read_outs(graph)
    assert read
    for node in graph.node:
        if node.op_type in HEAVY:
            assert (node.input[1] in quantised) != (node.name in read)


def test_the_same_network_gives_the_same_bytes(release: Release, lenet5: Trained) -> None:
    again = make_release(lenet5, "digits", BOTH)
    for name in ("model.onnx", "model.fp16.onnx", "model.int8.onnx", "golden.npz"):
        assert again.files[name] == release.files[name], name


def test_nothing_in_a_graph_tells_about_the_machine(release: Release) -> None:
    for name in ("model.onnx", "model.fp16.onnx", "model.int8.onnx"):
        text = str(onnx.load_from_string(release.files[name]))
        assert ".py" not in text
        assert "/tmp" not in text


def test_a_variant_that_loses_too_much_is_left_out_with_a_warning(
    lenet5: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "MAX_SCORE_LOSS", -1.0)
    told: list[str] = []
    made = make_release(lenet5, "digits", ("fp16",), told.append)
    assert "model.fp16.onnx" not in made.files
    assert "model.onnx" in made.files
    assert made.fields.tolerances.keys() == made.fields.parity.keys() == {"fp32"}
    assert "test_accuracy_fp16" not in made.fields.metrics
    (warning,) = told
    assert warning.startswith("variant fp16 is left out: its accuracy on the held-out examples is ")
    assert "at most -1 may be lost" in warning


def test_a_network_that_is_all_read_out_has_no_int8(tmp_path: Path) -> None:
    told: list[str] = []
    trained = train_small("mlp", "wine", epochs=20, hidden_sizes=[])
    made = make_release(trained, "wine", BOTH, told.append)
    assert told == [
        "variant int8 is left out: nothing to quantise: the only weights are those of the read-out"
    ]
    assert "model.fp16.onnx" in made.files

    store = open_store(str(tmp_path))
    with pytest.raises(Cancelled, match="version 1 of 'wine' may not be published"):
        publish(store, "wine", made, "job-1", lambda version: False)
    assert store.list_models() == []
    manifest = publish(store, "wine", made, "job-1", conditions=["test_accuracy >= 0.5"])
    assert manifest.version == 2
    assert manifest.lineage.job_id == "job-1"
    assert manifest.promotion is not None
    assert manifest.promotion.conditions == ("test_accuracy>=0.5",)
    assert store.labels("wine").labels == {}, "publishing makes nothing stable"
    assert store.fetch("wine", 2).read("model.fp16.onnx") == made.files["model.fp16.onnx"]


def test_large_examples_are_fewer_in_the_reference() -> None:
    pictures, labels = np.zeros((400, 3, 224, 224), np.float32), np.zeros(400, np.int64)
    rows = kept_rows(1000, 64 << 20, pictures, labels)
    assert rows == (64 << 20) // (3 * 224 * 224 * 4 + 8)
    assert kept_rows(1000, 64 << 20, labels) == 1000
    assert kept_rows(1000, 10, pictures) == 1
