"""A model opened on ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wintergarden.errors import InvalidArgument, InvalidTensor, NotFound, Overloaded, Unsupported
from wintergarden.runtime.binding import Array, BoundRuns, Feeds, GraphRuns
from wintergarden.runtime.datatypes import input_spec, optional_specs, output_spec
from wintergarden.runtime.library import FATAL, onnxruntime
from wintergarden.runtime.options import DEFAULTS, RuntimeOptions
from wintergarden.runtime.providers import CUDA, check_providers, choose_providers, say_unmet
from wintergarden.runtime.stepping import Stepper
from wintergarden.runtime.threads import available_threads
from wintergarden.runtime.values import run_with_bfloat16, run_with_values

# "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : " and the C++ source line say nothing to a caller.
_NOISE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |\S*onnxruntime_src\S+ |\x1b\[[\d;]*m")
_OUT_OF_MEMORY = re.compile(r"allocate memory|bad allocation|bad_alloc|out of memory", re.I)
_DEVICE_FAULT = re.compile(r"\b(CUDA|CUDNN|CUBLAS)\b")
_NO_GRAPH = re.compile(r"graph capture", re.I)

_LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


def open_session(model: bytes | Path, options: RuntimeOptions = DEFAULTS) -> Session:
    """Opens an ONNX model; operators of custom libraries are not loaded, so they are unknown.

    External data must lie in the folder of the model's file, or below it, which ONNX Runtime sees
    to itself; a model of bytes can have none.

    Raises:
        InvalidArgument: not a model that ONNX Runtime can load.
        Unsupported: an operator lacks an implementation, or an input or output is no tensor.
        FailedPrecondition: CUDA, a CUDA graph or TensorRT is demanded and cannot be had.
        NotFound: no such file.
        Overloaded: there is not memory enough.
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
        UnicodeError,  # a name in the file, or in ONNX Runtime's complaint about it
    ) as error:
        if options.is_cuda_graph and _NO_GRAPH.search(str(error)):
            say_unmet(options, "a CUDA graph", _plain(error))
            return open_session(model, replace(options, is_cuda_graph=False))
        raise InvalidArgument(f"ONNX Runtime cannot load this model: {_plain(error)}") from error
    except MemoryError as error:
        raise Overloaded("not enough memory to open this model") from error
    except ValueError as error:
        settings = {**options.session_settings, **(options.tensorrt or {})}
        raise InvalidArgument(
            f"ONNX Runtime does not take these settings: {settings} ({_plain(error)})"
        ) from error
    check_providers(options, inner.get_providers())
    return session


class Session:
    """A loaded model; `run` may be called from any number of threads at once.

    Attributes:
        inputs: what `run` must be fed; optional ones may be left out.
        optional_inputs: weights that may be fed in place of those in the file.
        outputs: what `run` returns, in this order.
        providers: what ONNX Runtime really uses, best first.
        device: `cuda` or `cpu`.
    """

    def __init__(self, inner: Any, options: RuntimeOptions) -> None:
        self._inner = inner
        self.inputs = tuple(map(input_spec, inner.get_inputs()))
        self.optional_inputs = optional_specs(inner.get_overridable_initializers())
        self.outputs = tuple(map(output_spec, inner.get_outputs()))
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
            arenas = f"cpu:0;gpu:{options.device_id}" if self.device == "cuda" else "cpu:0"
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", arenas)
        self._compute = self._way(options)

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """Runs the model.

        Args:
            feeds: an array for each input, in its datatype; BYTES as objects `bytes` or `str`.
            outputs: names of the wanted outputs; None takes all.

        Returns:
            An array per output; BYTES as objects `str`, BF16 as `ml_dtypes.bfloat16`.

        Raises:
            InvalidTensor: a name, datatype, shape or value that the model does not take.
            Overloaded: there is not memory enough.
        """
        if self._text_inputs:
            feeds = {**feeds, **self._texts(feeds)}
        try:
            return self._compute(self._output_names if outputs is None else outputs, feeds)
        except self._failures as error:
            raise _told(error) from error

    def stepper(
        self, states: Sequence[tuple[str, str]], *, token: str, result: str, max_rows: int
    ) -> Stepper:
        """Steps of this graph over rows that come and go; see `Stepper`.

        Raises:
            InvalidArgument: it is no graph of one step.
        """

        def run(binding: Any) -> None:
            try:
                self._inner.run_with_iobinding(binding, self._run_options)
            except self._failures as error:
                raise _told(error) from error

        return Stepper(
            self._inner,
            run,
            self.inputs,
            self.outputs,
            states,
            token=token,
            result=result,
            max_rows=max_rows,
        )

    def _way(self, options: RuntimeOptions) -> Callable[[Sequence[str], Feeds], list[Array]]:
        """How feeds reach the device and outputs come back."""
        inner, run_options = self._inner, self._run_options
        tensors = (*self.inputs, *self.optional_inputs, *self.outputs)
        datatypes = {spec.datatype for spec in tensors}
        if options.is_cuda_graph and self.device == "cuda":
            if not datatypes & {"BYTES", "BF16"}:
                return GraphRuns(inner, self._output_names, options.device_id).run
            say_unmet(options, "a CUDA graph", "texts and BF16 are not fed to graphs")
        if "BF16" in datatypes:
            is_given = any(spec.datatype == "BF16" for spec in self.outputs)
            if is_given and self._text_inputs:
                raise Unsupported(
                    f"input {self._text_inputs[0]!r} is BYTES beside an output of BF16, which "
                    "ONNX Runtime does not offer together; cast the output to FP32 in the graph"
                )
            run = run_with_values if is_given else run_with_bfloat16
            return partial(run, inner, run_options)
        is_bound = self.device == "cuda" if options.is_bound is None else options.is_bound
        if is_bound and "BYTES" not in datatypes:
            return BoundRuns(inner, run_options, self.device, options.device_id).run
        return partial(inner.run, run_options=run_options)

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
    inner.inter_op_num_threads = options.inter_op_threads or available_threads()
    mode = library.ExecutionMode
    inner.execution_mode = (
        mode.ORT_SEQUENTIAL if inner.inter_op_num_threads == 1 else mode.ORT_PARALLEL
    )
    inner.graph_optimization_level = getattr(
        library.GraphOptimizationLevel, _LEVELS[options.optimization_level]
    )
    inner.enable_cpu_mem_arena = options.has_arena
    inner.enable_mem_pattern = options.has_memory_pattern
    settings = {"session.intra_op.allow_spinning": str(int(options.is_spinning))}
    for name, value in {**settings, **options.session_settings}.items():
        inner.add_session_config_entry(name, value)
    return inner


def _told(error: Exception) -> Exception:
    """An error of ONNX Runtime in the words of the house; a fault of the device is no caller's."""
    text = str(error)
    if _OUT_OF_MEMORY.search(text):
        return Overloaded("not enough memory to run this request")
    return RuntimeError(text) if _DEVICE_FAULT.search(text) else InvalidTensor(_plain(error))


def _plain(error: Exception) -> str:
    return " ".join(_NOISE.sub("", str(error)).split())[:1000]
