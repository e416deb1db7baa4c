"""A model opened on ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wintergarden.errors import InvalidArgument, InvalidTensor, NotFound, Overloaded, Unsupported
from wintergarden.runtime.library import FATAL, onnxruntime
from wintergarden.runtime.options import DEFAULTS, RuntimeOptions
from wintergarden.runtime.providers import CUDA, check_providers, choose_providers
from wintergarden.runtime.threads import available_threads

Array = np.ndarray[Any, np.dtype[Any]]

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}

# "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : " and the C++ source line say nothing to a caller.
_NOISE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |\S*onnxruntime_src\S+ |\x1b\[[\d;]*m")
_OUT_OF_MEMORY = re.compile(r"allocate memory|bad allocation|bad_alloc|out of memory", re.I)
_DEVICE_FAULT = re.compile(r"\b(CUDA|CUDNN|CUBLAS)\b")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output.

    Attributes:
        name: as in the graph.
        datatype: the protocol's name for it, for example FP32.
        shape: -1 is a dimension of any size.
        is_optional: an input that may be left out.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    is_optional: bool = False


def open_session(model: bytes | Path, options: RuntimeOptions = DEFAULTS) -> Session:
    """Opens an ONNX model; operators of custom libraries are not loaded, so they are unknown.

    Raises:
        InvalidArgument: not a model that ONNX Runtime can load.
        Unsupported: an operator lacks an implementation, or an input or output is no tensor.
        FailedPrecondition: CUDA is demanded and cannot be had.
        NotFound: no such file.
    """
    library = onnxruntime()
    failures = library.capi.onnxruntime_pybind11_state
    providers = choose_providers(options)
    try:
        inner = library.InferenceSession(
            str(model) if isinstance(model, Path) else model,
            _session_options(options),
            providers=providers,
        )
        session = Session(inner, options)
    except failures.NotImplemented as error:
        raise Unsupported(f"ONNX Runtime cannot run this model: {_plain(error)}") from error
    except failures.NoSuchFile as error:
        raise NotFound(f"no model file {model!s}") from error
    except (
        failures.Fail,
        failures.InvalidArgument,
        failures.InvalidGraph,
        failures.InvalidProtobuf,
        failures.RuntimeException,
        UnicodeDecodeError,  # a name in the file, or in ONNX Runtime's complaint about it
    ) as error:
        raise InvalidArgument(f"ONNX Runtime cannot load this model: {_plain(error)}") from error
    check_providers(options, inner.get_providers())
    return session


class Session:
    """A loaded model; `run` may be called from any number of threads at once.

    Attributes:
        inputs: what `run` must be fed.
        outputs: what `run` returns, in this order.
        providers: what ONNX Runtime really uses, best first.
        device: `cuda` or `cpu`.
    """

    def __init__(self, inner: Any, options: RuntimeOptions) -> None:
        self._inner = inner
        self.inputs = tuple(_spec(node, "input") for node in inner.get_inputs())
        self.outputs = tuple(_spec(node, "output") for node in inner.get_outputs())
        self.providers: tuple[str, ...] = tuple(inner.get_providers())
        self.device = "cuda" if CUDA in self.providers else "cpu"
        self._output_names = [spec.name for spec in self.outputs]
        self._text_inputs = [spec.name for spec in self.inputs if spec.datatype == "BYTES"]
        failures = onnxruntime().capi.onnxruntime_pybind11_state
        self._failures = (
            failures.Fail,
            failures.InvalidArgument,
            failures.RuntimeException,
            RuntimeError,
            ValueError,
        )
        # One for all runs: making it costs 1 µs of the 4 µs that a run of nothing takes.
        self._run_options = onnxruntime().RunOptions()
        if options.is_arena_shrunk:
            arenas = "cpu:0;gpu:0" if self.device == "cuda" else "cpu:0"
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", arenas)

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """Runs the model.

        Args:
            feeds: an array for each input, in its datatype; BYTES as objects `bytes` or `str`.
            outputs: names of the wanted outputs; None takes all.

        Returns:
            An array per output; BYTES as objects `str`.

        Raises:
            InvalidTensor: a name, datatype, shape or value that the model does not take.
            Overloaded: there is not memory enough.
        """
        if self._text_inputs:
            feeds = {**feeds, **self._texts(feeds)}
        try:
            results: list[Array] = self._inner.run(
                self._output_names if outputs is None else outputs, feeds, self._run_options
            )
        except self._failures as error:
            text = str(error)
            if _OUT_OF_MEMORY.search(text):
                raise Overloaded("not enough memory to run this request") from error
            if _DEVICE_FAULT.search(text):
                raise
            raise InvalidTensor(_plain(error)) from error
        return results

    def _texts(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """BYTES as text: ONNX Runtime would take `str(b"a")`, which is `b'a'` with its quotes."""
        texts = {}
        for name in self._text_inputs:
            if name not in feeds:
                continue
            try:
                elements = [
                    element.decode() if isinstance(element, bytes) else element
                    for element in feeds[name].reshape(-1).tolist()
                ]
            except UnicodeDecodeError as error:
                raise InvalidTensor(f"input {name!r}: BYTES must be UTF-8 here: {error}") from error
            texts[name] = np.array(elements, object).reshape(feeds[name].shape)
        return texts


def _session_options(options: RuntimeOptions) -> Any:
    library = onnxruntime()
    inner = library.SessionOptions()
    inner.log_severity_level = FATAL
    inner.intra_op_num_threads = options.intra_op_threads or available_threads()
    inner.inter_op_num_threads = 1
    inner.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
    inner.add_session_config_entry("session.intra_op.allow_spinning", str(int(options.is_spinning)))
    return inner


def _spec(node: Any, kind: str) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        cure = "; export with zipmap=False" if "map" in node.type else ""
        raise Unsupported(
            f"{kind} {node.name!r} is {node.type}; served are tensors of "
            f"{', '.join(_DATATYPES.values())}{cure}"
        )
    shape = tuple(d if isinstance(d, int) and d >= 0 else -1 for d in node.shape)
    return TensorSpec(node.name, datatype, shape)


def _plain(error: Exception) -> str:
    return " ".join(_NOISE.sub("", str(error)).split())[:1000]
