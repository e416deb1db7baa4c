"""A Triton model repository with the models that tritonclient's examples ask for, as ONNX graphs.

    python triton_models.py FOLDER [MODEL…]

Names, tensors and what the sequences answer are those of Triton's own example models; all of it
is made here, the image classifiers from random weights. `slow_identity` is ours.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

HEADER = '<ir_version: 8, opset_import: ["" : 19]>\n'

SUM_AND_DIFFERENCE = """
sum ({t}[n, 16] INPUT0, {t}[n, 16] INPUT1) => ({t}[n, 16] OUTPUT0, {t}[n, 16] OUTPUT1)
{{ a = Cast <to = 6> (INPUT0)  b = Cast <to = 6> (INPUT1)  s = Add (a, b)  d = Sub (a, b)
   OUTPUT0 = Cast <to = {code}> (s)  OUTPUT1 = Cast <to = {code}> (d) }}"""

GRAPHS = {
    "simple": SUM_AND_DIFFERENCE.format(t="int32", code=6),
    "simple_int8": SUM_AND_DIFFERENCE.format(t="int8", code=3),
    "simple_string": SUM_AND_DIFFERENCE.format(t="string", code=8),
    "simple_identity": "identity (string[n, m] INPUT0) => (string[n, m] OUTPUT0)"
    "{ OUTPUT0 = Identity (INPUT0) }",
    "custom_identity_int32": "identity (int32[n, m] INPUT0) => (int32[n, m] OUTPUT0)"
    "{ OUTPUT0 = Identity (INPUT0) }",
    # Takes as many steps as the largest number it is given: a million in about half a second.
    "slow_identity": """
        identity (int32[n, 1] INPUT0) => (int32[n, 1] OUTPUT0) <bool go = {1}>
        { most = ReduceMax <keepdims = 0> (INPUT0)  steps = Cast <to = 7> (most)
          OUTPUT0 = Loop (steps, go, INPUT0) <body = body (int64 i, bool c, int32[n, 1] s)
              => (bool d, int32[n, 1] t) { d = Identity (c)  t = Identity (s) }> }""",
    # The value, and one more at the start.
    "simple_sequence": """
        sequence (int32[n, 1] INPUT, int32[n, 1] START, int32[n, 1] READY) => (int32[n, 1] OUTPUT)
        { sum = Add (INPUT, START)  OUTPUT = Mul (sum, READY) }""",
    # … and the sequence's own number at its end.
    "simple_dyna_sequence": """
        sequence (int32[n, 1] INPUT, int32[n, 1] START, int32[n, 1] END, int32[n, 1] READY,
                  uint64[n, 1] CORRID) => (int32[n, 1] OUTPUT)
        { sum = Add (INPUT, START)  number = Cast <to = 6> (CORRID)  last = Mul (END, number)
          all = Add (sum, last)  OUTPUT = Mul (all, READY) }""",
    # The sum of the values so far, and the sequence's own number at its end.
    "simple_string_dyna_sequence": """
        sequence (int32[n, 1] INPUT, int32[n, 1] END, string[n, 1] CORRID, int32[n, 1] SUM)
        => (int32[n, 1] OUTPUT, int32[n, 1] NEW_SUM)
        { NEW_SUM = Add (INPUT, SUM)  number = Cast <to = 6> (CORRID)  last = Mul (END, number)
          OUTPUT = Add (NEW_SUM, last) }""",
    # A decoupled model answers once for each row.
    "repeat_int32": """
        repeat (int32[n] IN, uint32[n] DELAY, uint32[one] WAIT) => (int32[n] OUT)
        { OUT = Identity (IN) }""",
    # In place of a decoder: an image is whatever has bytes.
    "image_preprocess": """
        preprocess (string[n, 1] INPUT) => (float[n, 299, 299, 3] OUTPUT)
        <string nothing = {""}, int64[3] size = {299, 299, 3}, float one = {1},
         int64[2] axes = {2, 3}>
        { none = Equal (INPUT, nothing)  flag = Cast <to = 1> (none)  grey = Sub (one, flag)
          rows = Shape <end = 1> (INPUT)  shape = Concat <axis = 0> (rows, size)
          pixel = Unsqueeze (grey, axes)  OUTPUT = Expand (pixel, shape) }""",
    "densenet_onnx": """
        densenet (float[1, 3, 224, 224] data_0) => (float[1, 1000, 1, 1] fc6_1)
        <int64[4] shape = {1, 1000, 1, 1}>
        { pooled = GlobalAveragePool (data_0)  flat = Flatten (pooled)
          scores = MatMul (flat, weights)  fc6_1 = Reshape (scores, shape) }""",
    "inception_onnx": """
        inception (float[n, 299, 299, 3] "input:0")
        => (float[n, 1001] "InceptionV3/Predictions/Softmax:0")
        <int64[2] space = {1, 2}>
        { pooled = ReduceMean <keepdims = 0> ("input:0", space)
          scores = MatMul (pooled, weights)
          "InceptionV3/Predictions/Softmax:0" = Softmax <axis = -1> (scores) }""",
}
WEIGHTS = {"densenet_onnx": (3, 1000), "inception_onnx": (3, 1001)}

_START = 'name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] }'
_END = 'name: "END" control { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] }'
_READY = 'name: "READY" control { kind: CONTROL_SEQUENCE_READY int32_false_true: [ 0, 1 ] }'
_CORRID = 'name: "CORRID" control {{ kind: CONTROL_SEQUENCE_CORRID data_type: {} }}'


def _controls(*controls: str) -> str:
    return " ".join(f"control_input {{ {control} }}" for control in controls)


def _tensors(kind: str, datatype: str, dims: str, *names: str) -> str:
    return "\n".join(
        f'{kind} {{ name: "{n}" data_type: {datatype} dims: [ {dims} ] }}' for n in names
    )


def _pairs(datatype: str) -> str:
    inputs = _tensors("input", datatype, "16", "INPUT0", "INPUT1")
    return (
        f"max_batch_size: 8\n{inputs}\n{_tensors('output', datatype, '16', 'OUTPUT0', 'OUTPUT1')}"
    )


def _identity(datatype: str, rows: int) -> str:
    output = _tensors("output", datatype, "-1", "OUTPUT0")
    return f"max_batch_size: {rows}\n{_tensors('input', datatype, '-1', 'INPUT0')}\n{output}"


_SEQUENCE = "\n".join(
    (
        "max_batch_size: 8",
        _tensors("input", "TYPE_INT32", "1", "INPUT"),
        _tensors("output", "TYPE_INT32", "1", "OUTPUT"),
    )
)
_OLDEST = (
    "max_sequence_idle_microseconds: 10000000\n"
    "oldest { max_candidate_sequences: 1024 max_queue_delay_microseconds: 10000 }"
)

CONFIGURATIONS = {
    "simple": _pairs("TYPE_INT32"),
    "simple_int8": _pairs("TYPE_INT8"),
    "simple_string": _pairs("TYPE_STRING"),
    "simple_identity": _identity("TYPE_STRING", 8),
    "custom_identity_int32": _identity("TYPE_INT32", 1024),
    # In order, so on a thread of its own: how long a run takes, its input says.
    "slow_identity": "max_batch_size: 8 dynamic_batching { preserve_ordering: true }\n"
    + _tensors("input", "TYPE_INT32", "1", "INPUT0")
    + _tensors("output", "TYPE_INT32", "1", "OUTPUT0"),
    "simple_sequence": f"{_SEQUENCE}\nsequence_batching {{ {_controls(_START, _READY)} }}",
    "simple_dyna_sequence": f"""{_SEQUENCE}
sequence_batching {{ {_OLDEST} {_controls(_START, _END, _READY, _CORRID.format("TYPE_UINT64"))} }}
instance_group {{ count: 2 kind: KIND_CPU }}""",
    "simple_string_dyna_sequence": f"""{_SEQUENCE}
sequence_batching {{ {_OLDEST} {_controls(_END, _CORRID.format("TYPE_STRING"))}
state {{ input_name: "SUM" output_name: "NEW_SUM" data_type: TYPE_INT32 dims: [ 1 ] }} }}""",
    "repeat_int32": f"""max_batch_size: 0
{_tensors("input", "TYPE_INT32", "-1", "IN")}
{_tensors("input", "TYPE_UINT32", "-1", "DELAY")}
{_tensors("input", "TYPE_UINT32", "1", "WAIT")}
{_tensors("output", "TYPE_INT32", "-1", "OUT")}
model_transaction_policy {{ decoupled: true }}""",
    "image_preprocess": f"""max_batch_size: 8
{_tensors("input", "TYPE_STRING", "1", "INPUT")}
{_tensors("output", "TYPE_FP32", "299, 299, 3", "OUTPUT")}""",
    "densenet_onnx": """max_batch_size: 0
input { name: "data_0" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 224, 224 ]
        reshape { shape: [ 1, 3, 224, 224 ] } }
output { name: "fc6_1" data_type: TYPE_FP32 dims: [ 1000 ] reshape { shape: [ 1, 1000, 1, 1 ] }
         label_filename: "labels.txt" }""",
    "inception_onnx": """max_batch_size: 8
input { name: "input:0" data_type: TYPE_FP32 format: FORMAT_NHWC dims: [ 299, 299, 3 ] }
output { name: "InceptionV3/Predictions/Softmax:0" data_type: TYPE_FP32 dims: [ 1001 ]
         label_filename: "labels.txt" }""",
    "preprocess_inception_ensemble": """platform: "ensemble"
max_batch_size: 8
input { name: "INPUT" data_type: TYPE_STRING dims: [ 1 ] }
output { name: "OUTPUT" data_type: TYPE_FP32 dims: [ 1001 ] label_filename: "labels.txt" }
ensemble_scheduling {
  step { model_name: "image_preprocess" model_version: -1
         input_map { key: "INPUT" value: "INPUT" } output_map { key: "OUTPUT" value: "image" } }
  step { model_name: "inception_onnx" model_version: -1
         input_map { key: "input:0" value: "image" }
         output_map { key: "InceptionV3/Predictions/Softmax:0" value: "OUTPUT" } }
}""",
}
LABELS = {"densenet_onnx": 1000, "inception_onnx": 1001, "preprocess_inception_ensemble": 1001}


def graph(name: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(HEADER + GRAPHS[name])
    if shape := WEIGHTS.get(name):
        weights = np.random.default_rng(0).standard_normal(shape, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, "weights"))
    onnx.checker.check_model(model)
    return model


def write(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        version = folder / name / "1"
        version.mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(f'name: "{name}"\n{CONFIGURATIONS[name]}\n')
        if name in LABELS:
            labels = "".join(f"class {i}\n" for i in range(LABELS[name]))
            (folder / name / "labels.txt").write_text(labels)
        if name in GRAPHS:  # an ensemble has none
            onnx.save(graph(name), version / "model.onnx")


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2:] or CONFIGURATIONS)
