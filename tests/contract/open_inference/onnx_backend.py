"""The service as a backend of ONNX's own tests, and ONNX Runtime in this process beside it.

https://github.com/onnx/onnx/blob/main/docs/ImplementingAnOnnxBackend.md
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from itertools import count
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx.backend.base import Backend, BackendRep
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensors

_CARRIED = r"tensor\((bool|u?int(8|16|32|64)|b?float16|float|double|string)\)"
_INPUT = re.compile(rf"{_CARRIED}|optional\({_CARRIED}\)")
_OUTPUT = re.compile(_CARRIED)

_PATIENCE_S = 60

onnxruntime.set_default_logger_severity(4)


def node_tests() -> list[TestCase]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # computing what they expect divides by zero
        return sorted(load_model_tests(kind="node"), key=lambda case: case.name)


class WireBackend(Backend):
    """Runs a model by loading it into a service, asking once, and unloading it again."""

    @classmethod
    def prepare(
        cls, model: onnx.ModelProto, device: str = "CPU", *, client: Any, **kwargs: Any
    ) -> OnTheWire:
        """`client` has a method for each call of the protocol."""
        return OnTheWire(model, client)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"


class OnTheWire(BackendRep):
    _numbers = count()

    def __init__(self, model: onnx.ModelProto, client: Any) -> None:
        self._inputs = [tensor.name for tensor in model.graph.input]
        self._outputs = [tensor.name for tensor in model.graph.output]
        self._content = model.SerializeToString()
        self._client = client

    def run(self, inputs: Sequence[Any], **kwargs: Any) -> tuple[np.ndarray, ...]:
        name = f"node-{next(self._numbers)}"
        load = pb.RepositoryModelLoadRequest(model_name=name)
        load.parameters["config"].string_param = "{}"
        load.parameters["file:1/model.onnx"].bytes_param = self._content
        self._client.RepositoryModelLoad(load, timeout=_PATIENCE_S)
        try:
            response = self._client.ModelInfer(self._request(name, inputs), timeout=_PATIENCE_S)
        finally:
            self._client.RepositoryModelUnload(
                pb.RepositoryModelUnloadRequest(model_name=name), timeout=_PATIENCE_S
            )
        arrays = {
            output.name: tensors.decode(raw, output.datatype, output.shape, output.name, "output")
            for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        }
        return tuple(_text(arrays[name]) for name in self._outputs)

    def _request(self, model: str, inputs: Sequence[Any]) -> pb.ModelInferRequest:
        request = pb.ModelInferRequest(model_name=model)
        for name, array in zip(self._inputs, inputs, strict=False):
            if is_given(array):
                datatype = tensors.datatype_of(array.dtype)
                request.inputs.add(name=name, datatype=datatype, shape=array.shape)
                request.raw_input_contents.append(tensors.encode(array))
        return request


class InProcess:
    """ONNX Runtime alone, without a line of ours."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [tensor.name for tensor in model.graph.input]
        self._outputs = [tensor.name for tensor in model.graph.output]

    @property
    def is_carriable(self) -> bool:
        """All its tensors are of types that the protocol has names for."""
        session = self._session
        return all(_INPUT.fullmatch(tensor.type) for tensor in session.get_inputs()) and all(
            _OUTPUT.fullmatch(tensor.type) for tensor in session.get_outputs()
        )

    def run(self, inputs: Sequence[Any]) -> tuple[Any, ...]:
        feeds = {n: a for n, a in zip(self._inputs, inputs, strict=False) if is_given(a)}
        types = {tensor.name: tensor.type for tensor in self._session.get_outputs()}
        if not any("bfloat16" in types[name] for name in self._outputs):
            fed = {name: _fed(array) for name, array in feeds.items()}
            return tuple(self._session.run(self._outputs, fed))
        values = {
            n: _fed(a) if a.dtype == ml_dtypes.bfloat16 else _value(a) for n, a in feeds.items()
        }
        made = self._session.run_with_ort_values(self._outputs, values)
        return tuple(map(_array, made))


def check(case: TestCase, run: Any) -> None:
    """Fails unless the answers are those that the test case expects."""
    for inputs, expected in case.data_sets:
        answers = run([_tensor(i) for i in inputs])
        Runner.assert_similar_outputs(list(map(_tensor, expected)), answers, case.rtol, case.atol)


def _tensor(value: Any) -> Any:
    """Some are numpy's scalars or still serialised."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def is_given(array: Any) -> bool:
    return array is not None and not (isinstance(array, list) and not array)


def _fed(array: Any) -> Any:
    if isinstance(array, np.ndarray) and array.dtype == ml_dtypes.bfloat16:
        bits = np.asarray(array.view(np.uint16), order="C")
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _BFLOAT16)
    return array


def _value(array: np.ndarray) -> Any:
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(array, order="C"))


def _array(value: Any) -> np.ndarray:
    """Bit by bit through a second session, since numpy does not know the type."""
    if value.element_type() != _BFLOAT16:
        return value.numpy()
    node = onnx.helper.make_node("Cast", ["x"], ["y"], to=onnx.TensorProto.FLOAT)
    graph = onnx.helper.make_graph(
        [node],
        "widen",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.BFLOAT16, None)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    widen = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (wide,) = widen.run(None, {"x": value})
    return wide.astype(ml_dtypes.bfloat16)


def _text(array: np.ndarray) -> np.ndarray:
    """BYTES as the test cases have them."""
    if array.dtype != object:
        return array
    texts = np.array([element.decode() for element in array.ravel()], object)
    return texts.reshape(array.shape)


_BFLOAT16 = onnx.TensorProto.BFLOAT16
