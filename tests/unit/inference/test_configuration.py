"""Configurations in Triton's words: read, refused, held to a graph, and completed."""

import json

import pytest

from services.inference.configuration import (
    Completion,
    bind,
    complete,
    read_json,
    read_text,
    wanted,
    with_policy,
    without_effect,
)
from services.inference.configuration.tensors import Reshape
from wintergarden.errors import InvalidArgument, TooLarge, Unsupported
from wintergarden.runtime import TensorSpec
from wintergarden.wire.model_config_pb2 import ModelConfig, ModelInstanceGroup

INPUTS = (TensorSpec("x", "FP32", (-1, 3)), TensorSpec("n", "INT64", (-1,)))
OUTPUTS = (TensorSpec("y", "FP32", (-1, 2)), TensorSpec("z", "BYTES", (-1, -1)))
GIVEN = """
    name: "m"  platform: "onnxruntime_onnx"  max_batch_size: 8
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] },
            { name: "n" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } } ]
    output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" } ]
    dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
    instance_group [ { count: 2 kind: KIND_CPU } ]
    parameters { key: "intra_op_thread_count" value { string_value: "2" } }
"""


def read(text, name="m"):
    return read_text(text.encode(), name)


def test_a_configuration_as_it_is_written():
    config = read(GIVEN)
    assert config.max_batch_size == 8
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8]
    assert config.instance_group[0].count == 2
    assert config.parameters["intra_op_thread_count"].string_value == "2"


def test_json_in_both_spellings():
    plain = read_json(json.dumps({"max_batch_size": 4, "backend": "onnxruntime"}), "m")
    camel = read_json(json.dumps({"maxBatchSize": 4, "backend": "onnxruntime"}), "m")
    assert plain == camel
    assert plain.name == "m"


@pytest.mark.parametrize(
    "text", ["max_batch_size", "nothing: 1", "max_batch_size: -3", "\xff", 'name: "other"']
)
def test_what_is_no_configuration_names_the_model(text):
    with pytest.raises(InvalidArgument, match="'m'"):
        read_text(text.encode("latin-1"), "m")


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"max_batch_size": "x"}', '{"what": 1}', "[" * 10_000, "1"]
)
def test_what_is_no_json_of_one_is_refused(content):
    with pytest.raises(InvalidArgument, match="ModelConfig in JSON"):
        read_json(content, "m")


def test_json_is_bounded():
    with pytest.raises(TooLarge, match="at most 1048576"):
        read_json(" " * (2**20 + 1), "m")


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ('backend: "python"', "convert the model to ONNX"),
        ('platform: "tensorrt_plan"', "convert the model to ONNX"),
        ('platform: "ensemble"', "needs ensemble_scheduling"),
        ('model_operations { op_library_filename: "ops.so" }', "functions of the ONNX file"),
        ('batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" }', "pad in the client"),
        ('input { name: "x" allow_ragged_batch: true }', "grouped here"),
        ('input { name: "x" is_shape_tensor: true }', "TensorRT's"),
        ("instance_group { kind: KIND_MODEL }", "KIND_CPU"),
        ("instance_group { passive: true }", "not served"),
        ('cc_model_filenames { key: "7.5" value: "a" }', "default_model_filename"),
        ('model_repository_agents { agents { name: "checksum" } }', "leave them out"),
        ('runtime: "other.so"', "leave it out"),
        (
            'platform: "onnxruntime_onnx" ensemble_scheduling { step { model_name: "a" } }',
            "platform 'ensemble' alone",
        ),
    ],
)
def test_what_is_not_served_is_refused_with_its_cure(text, cure):
    with pytest.raises(Unsupported, match=cure) as caught:
        read(text)
    assert "'m'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("max_batch_size: 4 dynamic_batching { preferred_batch_size: 5 }", "1 to max_batch_size"),
        ("dynamic_batching { priority_levels: 3 }", "must be 1 to 3"),
        ("dynamic_batching { priority_levels: 3 default_priority_level: 4 }", "must be 1 to 3"),
        ('input { name: "x" dims: [ 0 ] }', "must be positive"),
        ("instance_group { count: -1 }", "must be positive"),
    ],
)
def test_numbers_that_contradict_each_other(text, allowed):
    with pytest.raises(InvalidArgument, match=allowed):
        read(text)


def test_what_changes_nothing_is_named():
    config = read("optimization { priority: PRIORITY_MAX input_pinned_memory { enable: true } }")
    assert without_effect(config) == [
        "optimization.priority",
        "optimization.input_pinned_memory",
    ]
    assert without_effect(read(GIVEN)) == []


def test_clients_see_the_graph_where_nothing_is_said():
    tensors = bind(read(""), INPUTS, OUTPUTS, is_batched=True)
    assert (tensors.inputs, tensors.outputs) == (INPUTS, OUTPUTS)


def test_dims_leave_the_batch_out_and_outputs_may_be_left_out():
    tensors = bind(read(GIVEN), INPUTS, OUTPUTS, is_batched=True)
    assert tensors.inputs == (INPUTS[0], TensorSpec("n", "INT64", (-1, 1)))
    assert tensors.outputs == OUTPUTS[:1]
    assert tensors.input_reshapes == {"n": Reshape((1,), ())}


def test_hidden_tensors_are_not_seen():
    hidden = (frozenset({"n"}), frozenset({"z"}))
    tensors = bind(read(""), INPUTS, OUTPUTS, is_batched=True, hidden=hidden)
    assert (tensors.inputs, tensors.outputs) == (INPUTS[:1], OUTPUTS[:1])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('input { name: "w" }', r"no input 'w'; its inputs are 'x' \(FP32 \[-1, 3\]\), 'n'"),
        ('output { name: "w" }', "no output 'w'"),
        ('input { name: "x" dims: 3 }', "needs input 'n'"),
        ('input [ { name: "x" }, { name: "x" } ]', "listed twice"),
        ('output { name: "y" data_type: TYPE_FP16 }', "TYPE_FP16, and in the graph it is FP32"),
        ('output { name: "y" dims: [ 5 ] }', r"dims \[5\] do not fit .* \[-1, 2\]"),
        ('output { name: "y" dims: [ 2, 1 ] }', "do not fit"),
        ('output { name: "y" dims: [ -1 ] }', "do not fit"),
        ('output { name: "y" dims: [ 3 ] reshape { shape: [ 2 ] } }', "equally many elements"),
        (
            'input [ { name: "x" optional: true }, { name: "n" } ]',
            "the graph has no default for it",
        ),
    ],
)
def test_what_does_not_fit_the_graph(text, problem):
    with pytest.raises(InvalidArgument, match=problem):
        bind(read(text), INPUTS, OUTPUTS, is_batched=True)


def test_a_graph_of_fixed_size_takes_no_batch():
    fixed = (TensorSpec("x", "FP32", (2, 3)),)
    with pytest.raises(InvalidArgument, match="set max_batch_size to 0"):
        bind(read("max_batch_size: 2"), fixed, fixed, is_batched=True)
    assert bind(read(""), fixed, fixed, is_batched=False).inputs == fixed


def test_narrower_dims_than_the_graph_are_held_to():
    open_ended = (TensorSpec("x", "FP32", (-1, -1)),)
    config = read('input { name: "x" dims: [ 7 ] }')
    assert bind(config, open_ended, open_ended, is_batched=True).inputs[0].shape == (-1, 7)


def test_an_output_without_a_shape_in_the_graph_has_the_one_that_is_told():
    unknown = (TensorSpec("y", "FP32", ()),)
    config = read('max_batch_size: 2 output { name: "y" data_type: TYPE_FP32 dims: [ 5 ] }')
    assert bind(config, INPUTS, unknown, is_batched=True).outputs[0].shape == (-1, 5)


def completed(text, *, max_batch_size=64, device="cpu", is_batched=True):
    config = read(text)
    tensors = bind(config, INPUTS, OUTPUTS, is_batched=is_batched)
    return complete(config, Completion(tensors, max_batch_size, device, 3, "model.onnx"))


def test_all_that_is_left_out_is_filled_in():
    full = completed("")
    assert (full.platform, full.backend) == ("onnxruntime_onnx", "onnxruntime")
    assert full.default_model_filename == "model.onnx"
    assert full.max_batch_size == 64
    assert full.HasField("dynamic_batching")
    assert [(t.name, list(t.dims)) for t in full.input] == [("x", [3]), ("n", [])]
    assert [(t.name, list(t.dims)) for t in full.output] == [("y", [2]), ("z", [-1])]
    (group,) = full.instance_group
    assert (group.name, group.count, group.kind) == ("m_0", 3, ModelInstanceGroup.KIND_CPU)


def test_what_is_said_stays_and_the_completed_one_is_accepted_again():
    full = completed(GIVEN, device="cuda")
    assert full.max_batch_size == 8
    assert full.instance_group[0].kind == ModelInstanceGroup.KIND_CPU
    assert list(full.input[1].reshape.shape) == []
    again = ModelConfig.FromString(full.SerializeToString())
    assert bind(again, INPUTS, OUTPUTS, is_batched=True) == bind(
        full, INPUTS, OUTPUTS, is_batched=True
    )


def test_without_batches_dims_are_whole_shapes():
    full = completed("", max_batch_size=0, is_batched=False)
    assert full.max_batch_size == 0
    assert not full.HasField("dynamic_batching")
    assert [list(t.dims) for t in full.input] == [[-1, 3], [-1]]


def test_the_default_policy_stands_where_none_is_given():
    assert with_policy(read(""), 4).version_policy.latest.num_versions == 4
    said = read("version_policy { all { } }")
    assert with_policy(said, 4) == said


def test_wanted_versions_of_no_policy_and_an_empty_list():
    assert wanted(read(""), [1, 3, 2], 2).first == (3, 2)
    assert wanted(read("version_policy { all { } }"), [1, 3, 2], 2).first == (3, 2, 1)
    assert wanted(read("version_policy { latest { } }"), [1, 3, 2], 2).first == (3,)
    assert wanted(read(""), [], 2).first == ()
