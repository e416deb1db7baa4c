"""Artefacts of a real store, opened by ONNX Runtime."""

import os
import threading

import numpy as np
import onnx.parser
import pytest

from services.inference.loader import Loader, LoaderOptions
from services.inference.low_priority import at_low_priority
from services.inference.repository import Repository
from services.inference.sources.store import StoreSource
from wintergarden.errors import DataLoss
from wintergarden.store import ManifestFields, TensorInfo, golden, open_store

GRAPH = '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 3] x) => (float[n, 3] y) '
DOUBLING = GRAPH + "{ y = Add(x, x) }"
CENTRING = GRAPH + "{ m = ReduceMean<axes = [0]>(x) y = Sub(x, m) }"
FIXED = DOUBLING.replace("[n, 3]", "[2, 3]")
X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


def publish(store, graph, outputs):
    """A version with golden outputs for X."""
    info = (TensorInfo(name="x", datatype="FP32", shape=(-1, 3)),)
    fields = ManifestFields(architecture="test", task="unknown", inputs=info, outputs=info)
    with store.publish("m") as draft:
        draft.write("model.onnx", onnx.parser.parse_model(graph).SerializeToString())
        draft.write("golden.npz", golden.write_golden({"x": X}, {"y": outputs}))
        draft.commit(fields)
    return draft.version


def load(store, version=1, **options):
    loader = Loader(LoaderOptions(device="cpu", **options), Repository().resolve)
    source = StoreSource(store)
    return loader.load("m", version, source.files("m", version), source.configuration("m"))


def test_a_short_model_runs_inline_and_in_batches(store):
    model = load(store, publish(store, DOUBLING, 2 * X), inline_run_s=1.0)
    assert model.signature.is_rowwise
    assert model.scheduler.plan.inline_rows == model.scheduler.plan.max_rows == 64


def test_a_model_that_takes_longer_has_a_thread_of_its_own(store):
    model = load(store, publish(store, DOUBLING, 2 * X), inline_run_s=0.0)
    assert model.scheduler.plan.inline_rows == 0


def test_a_model_that_mixes_rows_is_not_batched(store):
    model = load(store, publish(store, CENTRING, X - X.mean(axis=0)))
    assert not model.signature.is_rowwise
    assert model.scheduler.plan.max_rows == 0


def test_a_model_of_fixed_size_is_not_batched_and_may_run_inline(store):
    model = load(store, publish(store, FIXED, 2 * X), inline_run_s=1.0)
    assert (model.scheduler.plan.max_rows, model.scheduler.plan.inline_rows) == (0, 1)


def test_other_answers_than_the_golden_ones_are_refused(store):
    with pytest.raises(DataLoss, match=r"golden output 'y' differs by 0\.5"):
        load(store, publish(store, DOUBLING, 2 * X + 0.5))


def test_a_tampered_file_is_refused(store, tmp_path):
    version = publish(store, DOUBLING, 2 * X)
    (file,) = tmp_path.rglob("model.onnx")
    file.chmod(0o644)
    file.write_bytes(onnx.parser.parse_model(CENTRING).SerializeToString())
    with pytest.raises(DataLoss, match=r"model\.onnx of m/1 is corrupt"):
        load(store, version)


def test_an_imported_model_is_served_without_golden_outputs(store):
    content = onnx.parser.parse_model(DOUBLING).SerializeToString()
    manifest = store.import_onnx("m", content)
    assert load(store, manifest.version).signature.is_rowwise


def test_an_imported_model_that_refuses_made_up_examples_is_served_all_the_same(store):
    graph = """<ir_version: 8, opset_import: ["" : 17]> g (float[n, t] x) => (float[n, k] y)
        <int64[2] shape = {-1, 3}> { y = Reshape(x, shape) }"""
    manifest = store.import_onnx("m", onnx.parser.parse_model(graph).SerializeToString())
    model = load(store, manifest.version)
    assert not model.signature.is_rowwise


@pytest.mark.skipif(os.name != "posix", reason="nice values")
def test_loading_does_not_lower_the_priority_of_the_caller():
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    lowered = at_low_priority(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    assert lowered > before
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_errors_cross_the_thread():
    def fail():
        raise DataLoss("gone")

    with pytest.raises(DataLoss, match="gone"):
        at_low_priority(fail)
