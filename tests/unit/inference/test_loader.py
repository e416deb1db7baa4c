"""Artefacts of a real store, opened by ONNX Runtime."""

import time
from types import SimpleNamespace

import numpy as np
import onnx.parser
import pytest
from structlog.testing import capture_logs

from services.inference.loading.loader import Loader, LoaderOptions
from services.inference.repository.repository import Repository
from services.inference.scheduling.plan import QueuePolicy, Resource
from services.inference.scheduling.resources import ResourcePool
from services.inference.scheduling.response_cache import ResponseCache
from services.inference.scheduling.server_wide import ServerWide
from services.inference.sources.store import StoreSource
from wintergarden.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from wintergarden.runtime import open_session
from wintergarden.runtime.providers import cuda_problem
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


def load(store, version=1, config="", **options):
    if config:
        store.write_configuration("m", config.encode())
    loader = Loader(LoaderOptions(device="cpu", **options), Repository().resolve)
    source = StoreSource(store)
    return loader.load("m", version, source.files("m", version), source.configuration("m"))


def infer(model, *feeds):
    """What one request is answered."""
    answers = []
    arrays = [np.asarray(feed) for feed in feeds]
    request = SimpleNamespace(
        feeds=arrays,
        rows=model.signature.rows(arrays),
        form=model.signature.form(arrays),
        arrived_ns=0,
        priority=0,
        timeout_us=0,
        sequence=None,
        trace=None,
        is_abandoned=False,
        answer=lambda outputs, is_final=True: answers.append(list(outputs)),
        refuse=answers.append,
    )
    model.scheduler.submit([request])
    until = time.monotonic() + 10
    while not answers:
        assert time.monotonic() < until
        time.sleep(0.001)
    return answers[0]


def test_a_short_model_runs_inline_and_in_batches(store):
    model = load(store, publish(store, DOUBLING, 2 * X), inline_run_s=1.0)
    assert model.signature.is_rowwise
    assert model.scheduler.plan.inline_rows == model.scheduler.plan.max_rows == 64


def test_a_model_that_takes_longer_has_a_thread_of_its_own(store):
    model = load(store, publish(store, DOUBLING, 2 * X), inline_run_s=0.0)
    assert model.scheduler.plan.inline_rows == 0
    assert model.scheduler.plan.gives_way


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


def test_a_delay_has_a_bound_and_what_runs_alone_none(store):
    """A lock cannot wait for ages; and nobody need wait for company that is not let in."""
    config = """dynamic_batching { preferred_batch_size: [ 4 ]
                                   max_queue_delay_microseconds: 18446744073709551615 }"""
    plan = load(store, publish(store, DOUBLING, 2 * X), config).scheduler.plan
    assert plan.max_rows > 1
    assert plan.max_queue_delay_us == 3_600_000_000
    # Not claimed to be batched, and so tried: its rows see one another.
    store.import_onnx("alone", onnx.parser.parse_model(CENTRING).SerializeToString())
    source = StoreSource(store)
    store.write_configuration("alone", config.encode())
    loader = Loader(LoaderOptions(device="cpu"), Repository().resolve)
    alone = loader.load("alone", 1, source.files("alone", 1), source.configuration("alone"))
    assert (alone.scheduler.plan.max_rows, alone.scheduler.plan.max_queue_delay_us) == (0, 0)


def test_a_configuration_says_how_requests_wait(store):
    config = """max_batch_size: 16
        dynamic_batching {
          preferred_batch_size: [ 4, 8 ]  max_queue_delay_microseconds: 300
          preserve_ordering: true  priority_levels: 3  default_priority_level: 2
          default_queue_policy { timeout_action: DELAY  default_timeout_microseconds: 7
                                 allow_timeout_override: true  max_queue_size: 9 }
          priority_queue_policy { key: 1 value { max_queue_size: 2 } } }
        instance_group [ { count: 2 kind: KIND_CPU
          rate_limiter { resources [ { name: "R1" count: 4 },
                                     { name: "R2" count: 1 global: true } ] priority: 2 } },
          { count: 1 } ]
        parameters { key: "oversized" value { string_value: "refuse" } }"""
    plan = load(store, publish(store, DOUBLING, 2 * X), config, inline_run_s=0.0).scheduler.plan
    assert (plan.max_rows, plan.threads, plan.oversized) == (16, 3, "refuse")
    assert (plan.preferred_rows, plan.max_queue_delay_us) == ((4, 8), 300)
    assert (plan.preserves_order, plan.priority_levels, plan.default_priority) == (True, 3, 2)
    assert plan.policy(2) == QueuePolicy(7, "DELAY", True, 9)
    assert plan.policy(1).max_waiting == 2
    assert plan.resources == (Resource("R1", 4), Resource("R2", 1, is_global=True))
    assert plan.rate_priority == 2


def test_without_a_configuration_nothing_waits(store):
    plan = load(store, publish(store, DOUBLING, 2 * X)).scheduler.plan
    assert (plan.max_queue_delay_us, plan.priority_levels, plan.resources) == (0, 0, ())
    assert plan.queue_policy == QueuePolicy()


def test_whole_shapes_without_a_batch_run_alone(store):
    config = 'input { name: "x" dims: [ -1, 3 ] }'
    model = load(store, publish(store, DOUBLING, 2 * X), config)
    assert not model.signature.is_rowwise
    assert model.configuration.max_batch_size == 0
    assert list(model.configuration.input[0].dims) == [-1, 3]


def test_rows_that_mix_are_batched_only_where_that_is_asked_for(store):
    version = publish(store, CENTRING, X - X.mean(axis=0))
    assert load(store, version, "max_batch_size: 4").scheduler.plan.max_rows == 0
    model = load(store, version, "max_batch_size: 4 dynamic_batching { }")
    assert model.scheduler.plan.max_rows == 4


def test_a_gpu_that_is_not_there_is_refused(store):
    version = publish(store, DOUBLING, 2 * X)
    if cuda_problem() is None:
        pytest.skip("there is a GPU here")
    with pytest.raises(FailedPrecondition, match="'cuda' was demanded"):
        load(store, version, "instance_group { kind: KIND_GPU }")
    with pytest.raises(InvalidArgument, match="one kind of device"):
        load(store, version, "instance_group [ { kind: KIND_GPU }, { kind: KIND_CPU } ]")


def test_more_of_a_resource_than_there_is(store):
    config = 'instance_group { rate_limiter { resources { name: "R" count: 5 } } }'
    version = publish(store, DOUBLING, 2 * X)
    store.write_configuration("m", config.encode())
    loader = Loader(
        LoaderOptions(device="cpu"),
        Repository().resolve,
        ServerWide(resources=ResourcePool({"R": 4})),
    )
    source = StoreSource(store)
    with pytest.raises(FailedPrecondition, match="needs 5 of resource 'R'"):
        loader.load("m", version, source.files("m", version), source.configuration("m"))


def sample(extra, **fields):
    given = {"data_type": "TYPE_FP32", "dims": 3} | fields
    tensor = " ".join(f"{name}: {value}" for name, value in given.items())
    return f"""max_batch_size: 4 model_warmup {{ name: "s" batch_size: 2 {extra}
        inputs {{ key: "x" value {{ {tensor} }} }} }}"""


@pytest.mark.parametrize(
    "config", [sample("", zero_data="true"), sample("count: 3", random_data="true"), sample("")]
)
def test_warm_up_samples_are_run(store, config):
    assert load(store, publish(store, DOUBLING, 2 * X), config).signature.is_rowwise


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (sample("", dims=4), r"is FP32 \[2, 4\], needed is FP32 \[-1, 3\]"),
        (sample("", data_type="TYPE_INT32"), "is INT32"),
        (sample("").replace('"x"', '"z"'), "no input 'z'; inputs are 'x'"),
        ('model_warmup { name: "s" }', "input 'x' is missing"),
        (sample("", input_data_file='"short"'), "'short'"),
        (sample("", input_data_file='"../m/short"'), "is no name for a file"),
    ],
)
def test_warm_up_samples_that_do_not_fit(store, tmp_path, config, problem):
    version = publish(store, DOUBLING, 2 * X)
    folder = tmp_path / "store/models/m/warmup"
    folder.mkdir()
    (folder / "short").write_bytes(b"1234")
    with pytest.raises(InvalidArgument, match=problem):
        load(store, version, config)


def test_a_warm_up_sample_that_fails_keeps_the_version_out(store):
    graph = """<ir_version: 8, opset_import: ["" : 17]> g (float[n, t] x) => (float[n, k] y)
        <int64[2] shape = {-1, 3}> { y = Reshape(x, shape) }"""
    manifest = store.import_onnx("m", onnx.parser.parse_model(graph).SerializeToString())
    with pytest.raises(InvalidArgument, match="model_warmup 's' failed"):
        load(store, manifest.version, sample("", dims=4))
    load(store, manifest.version, sample("", dims=3))


def variants(store, tolerances, **files):
    """A version with other graphs beside its own, and golden outputs of the right one."""
    info = (TensorInfo(name="x", datatype="FP32", shape=(-1, 3)),)
    fields = ManifestFields(
        architecture="test", task="unknown", inputs=info, outputs=info, tolerances=tolerances
    )
    with store.publish("m") as draft:
        draft.write("model.onnx", onnx.parser.parse_model(DOUBLING).SerializeToString())
        for name, graph in files.items():
            content = onnx.parser.parse_model(graph).SerializeToString()
            draft.write(f"model.{name}.onnx", content)
        draft.write("golden.npz", golden.write_golden({"x": X}, {"y": 2 * X}))
        draft.commit(fields)
    return draft.version


HALF = """<ir_version: 8, opset_import: ["" : 17]> g (float16[n, 3] x) => (float16[n, 3] y)
    { y = Add(x, x) }"""
ROUNDED = GRAPH + "<float k = {2.01}> { y = Mul(x, k) }"


def precision(name):
    return f'parameters {{ key: "precision" value {{ string_value: "{name}" }} }}'


def test_variants_are_held_to_the_golden_outputs_with_their_own_tolerance(store):
    version = variants(store, {"fp32": 1e-6, "fp16": 1e-2, "int8": 0.1}, fp16=HALF, int8=ROUNDED)
    assert load(store, version).signature.inputs[0].datatype == "FP32"
    half = load(store, version, precision("fp16"))
    assert half.signature.inputs[0].datatype == "FP16"
    assert half.configuration.default_model_filename == "model.fp16.onnx"
    rounded = load(store, version, precision("int8"))
    np.testing.assert_allclose(infer(rounded, X)[0], 2.01 * X, rtol=1e-6)


def test_a_variant_that_is_too_far_off_or_not_there(store):
    version = variants(store, {"fp32": 1e-6, "fp16": 1e-2}, int8=ROUNDED)
    with pytest.raises(DataLoss, match="no tolerance for int8; it has fp16, fp32"):
        load(store, version, precision("int8"))
    with pytest.raises(NotFound, match=r"no model\.fp16\.onnx"):
        load(store, version, precision("fp16"))
    with pytest.raises(InvalidArgument, match="allowed are fp32, fp16, int8"):
        load(store, version, precision("fp8"))
    version = variants(store, {"fp32": 1e-6, "int8": 1e-3}, int8=ROUNDED)
    with pytest.raises(DataLoss, match=r"golden output 'y' differs by 0\.05"):
        load(store, version, precision("int8"))


def test_class_labels_of_the_manifest_are_known(store):
    content = onnx.parser.parse_model(DOUBLING).SerializeToString()
    manifest = store.import_onnx("m", content, class_labels=["a", "b", "c"])
    assert load(store, manifest.version).signature.labels == {"y": ("a", "b", "c")}


def test_a_cached_model_answers_again_without_a_run(store):
    version = publish(store, DOUBLING, 2 * X)
    store.write_configuration("m", b"response_cache { enable: true }")
    server = ServerWide(response_cache=ResponseCache(2**20))
    loader = Loader(LoaderOptions(device="cpu"), Repository().resolve, server)
    source = StoreSource(store)
    model = loader.load("m", version, source.files("m", version), source.configuration("m"))
    for _ in range(3):
        np.testing.assert_array_equal(infer(model, X)[0], 2 * X)
    assert model.scheduler.statistics.read().executions == 1


def test_answers_that_are_to_keep_their_order_are_not_cached(store):
    version = publish(store, DOUBLING, 2 * X)
    text = b"response_cache { enable: true } dynamic_batching { preserve_ordering: true }"
    store.write_configuration("m", text)
    server = ServerWide(response_cache=ResponseCache(2**20))
    loader = Loader(LoaderOptions(device="cpu"), Repository().resolve, server)
    source = StoreSource(store)
    with capture_logs() as logs:
        model = loader.load("m", version, source.files("m", version), source.configuration("m"))
    assert any("preserve_ordering" in entry.get("reason", "") for entry in logs)
    for _ in range(3):
        np.testing.assert_array_equal(infer(model, X)[0], 2 * X)
    assert model.scheduler.statistics.read().executions == 3


@pytest.mark.parametrize(
    ("size", "inline_run_s", "opened_with"),
    [(1, 1.0, [1]), (1, 0.0, [1, 2]), (10**9, 0.0, [2]), (10**9, 1.0, [2, 1])],
    ids=["short", "slow", "large", "large and short"],
)
def test_a_slow_model_gets_all_threads_and_a_large_one_is_not_opened_twice(
    store, monkeypatch, size, inline_run_s, opened_with
):
    counts = []

    def open_counting(content, options):
        counts.append(options.intra_op_threads)
        return open_session(content, options)

    monkeypatch.setattr("services.inference.loading.opening.open_session", open_counting)
    monkeypatch.setattr("services.inference.loading.opening._size", lambda content: size)
    monkeypatch.setattr("services.inference.loading.loader.available_threads", lambda: 2)
    version = publish(store, DOUBLING, 2 * X)
    model = load(store, version, inline_run_s=inline_run_s)
    np.testing.assert_array_equal(infer(model, X)[0], 2 * X)
    assert counts == opened_with
    counts.clear()
    load(store, version, intra_op_threads=1, inline_run_s=inline_run_s)
    assert counts == [1]


def test_a_long_graph_is_read_from_a_file_without_a_name(store, monkeypatch):
    monkeypatch.setattr("services.inference.sources.store._LONG_BYTES", 1)
    model = load(store, publish(store, DOUBLING, 2 * X))
    np.testing.assert_array_equal(infer(model, X)[0], 2 * X)
