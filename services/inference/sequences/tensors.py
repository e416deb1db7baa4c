"""The tensors of a graph that belong to a sequence: its states, and what tells where it stands.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/implicit_state_management.md

Reads and checks the configuration's words about them; knows no requests and keeps no state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.inference.configuration.tensors import datatype_of
from services.inference.scheduling.scheduler import Array, SequenceControl
from services.inference.shapes import may_agree
from wintergarden.errors import InvalidArgument
from wintergarden.runtime import TensorSpec
from wintergarden.wire import model_config_pb2 as pb
from wintergarden.wire import tensors

_Batching = pb.ModelSequenceBatching
_START = _Batching.Control.CONTROL_SEQUENCE_START
_END = _Batching.Control.CONTROL_SEQUENCE_END
_READY = _Batching.Control.CONTROL_SEQUENCE_READY
_CORRID = _Batching.Control.CONTROL_SEQUENCE_CORRID

_CORRID_DATATYPES = ("UINT64", "INT64", "UINT32", "INT32", "BYTES")
# Control.*_false_true by the datatype that the field implies.
_FALSE_TRUE = {
    "INT32": "int32_false_true",
    "FP32": "fp32_false_true",
    "BOOL": "bool_false_true",
}

Specs = Mapping[str, TensorSpec]


@dataclass(frozen=True)
class ControlInput:
    """An input that tells the model where a request stands in its sequence.

    Attributes:
        kind: one of Triton's four.
        values: the arrays for false and true; empty for the correlation id.
        dtype: of the array.
        shape: of the array.
    """

    name: str
    kind: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    values: tuple[Array, ...]

    def value(self, control: SequenceControl) -> Array:
        """The array for a request.

        Raises:
            InvalidArgument: the sequence's id does not fit the input.
        """
        if self.kind == _START:
            return self.values[control.is_start]
        if self.kind == _END:
            return self.values[control.is_end]
        if self.kind == _READY:
            return self.values[True]
        return self._id(control.id)

    def _id(self, sequence_id: int | str) -> Array:
        if self.dtype.kind == "O":
            return np.full(self.shape, str(sequence_id), object)
        limits = np.iinfo(self.dtype)
        if isinstance(sequence_id, str) or not limits.min <= sequence_id <= limits.max:
            raise InvalidArgument(
                f"sequence_id: {sequence_id!r:.200} does not fit the model's input {self.name!r}; "
                f"allowed are whole numbers up to {limits.max}",
                field="parameters.sequence_id",
            )
        return np.full(self.shape, sequence_id, self.dtype)


@dataclass(frozen=True)
class State:
    """What one output of a run hands to an input of the sequence's next.

    Attributes:
        initial: what the first run is fed; read-only, shared by all sequences.
        is_open: its size may change from run to run.
    """

    input_name: str
    output_name: str
    initial: Array
    is_open: bool


def read_state(
    state: _Batching.State,
    inputs: Specs,
    outputs: Specs,
    is_batched: bool,
    read_initial_state: Callable[[str], bytes],
) -> State:
    where = f"sequence_batching.state {state.input_name!r}"
    datatype = datatype_of(state.data_type)
    shape = ((-1,) if is_batched else ()) + tuple(state.dims)
    for kind, name, specs in (
        ("input", state.input_name, inputs),
        ("output", state.output_name, outputs),
    ):
        spec = specs.get(name)
        if spec is None:
            raise InvalidArgument(
                f"{where}: {kind} {name!r} is not in the model; its {kind}s are "
                f"{', '.join(map(repr, specs))}"
            )
        if spec.datatype != datatype or not may_agree(shape, spec.shape):
            raise InvalidArgument(
                f"{where}: {datatype} {list(shape)} for the model's {kind} {name!r}, "
                f"which is {spec.datatype} {list(spec.shape)}"
            )
    initial = _initial(state, where, is_batched, read_initial_state)
    return State(state.input_name, state.output_name, initial, is_open=-1 in state.dims)


def _initial(
    state: _Batching.State,
    where: str,
    is_batched: bool,
    read_initial_state: Callable[[str], bytes],
) -> Array:
    datatype = datatype_of(state.data_type)
    # Without a word about the start, a size that is left open starts as 1, as in Triton.
    dims = tuple(max(1, d) if d < 0 else d for d in state.dims)
    content = None
    if len(state.initial_state) > 1:
        raise InvalidArgument(f"{where}: {len(state.initial_state)} of initial_state; give one")
    if state.initial_state:
        initial = state.initial_state[0]
        dims = tuple(initial.dims)
        if datatype_of(initial.data_type) != datatype or not may_agree(dims, tuple(state.dims)):
            raise InvalidArgument(
                f"{where}: initial_state is {datatype_of(initial.data_type)} {list(dims)}, "
                f"the state is {datatype} {list(state.dims)}"
            )
        if min(dims, default=0) < 0:
            raise InvalidArgument(f"{where}: initial_state needs sizes, got {list(dims)}")
        if initial.WhichOneof("state_data") is None:
            raise InvalidArgument(f"{where}: initial_state needs zero_data or data_file")
        if initial.data_file:
            content = read_initial_state(initial.data_file)
    shape = ((1,) if is_batched else ()) + dims
    if content is not None:
        return tensors.decode(content, datatype, shape, state.input_name)
    dtype = tensors.dtype_of(datatype, state.input_name)
    try:
        array: Array = np.full(shape, b"", object) if dtype.kind == "O" else np.zeros(shape, dtype)
    except (MemoryError, ValueError) as error:
        raise InvalidArgument(f"{where}: {list(shape)} is larger than any memory") from error
    array.flags.writeable = False
    return array


def read_control(
    control_input: _Batching.ControlInput, inputs: Specs, is_batched: bool
) -> ControlInput:
    name = control_input.name
    where = f"sequence_batching.control_input {name!r}"
    if len(control_input.control) != 1:
        raise InvalidArgument(f"{where}: {len(control_input.control)} of control; give one")
    control = control_input.control[0]
    spec = inputs.get(name)
    if spec is None:
        raise InvalidArgument(
            f"{where}: not in the model; its inputs are {', '.join(map(repr, inputs))}"
        )
    if any(size not in (-1, 1) for size in spec.shape) or (is_batched and not spec.shape):
        needed = "[-1, 1]" if is_batched else "[1]"
        raise InvalidArgument(
            f"{where}: the model's input is {list(spec.shape)}, needed is {needed}"
        )
    shape = (1,) * len(spec.shape)
    if control.kind == _CORRID:
        datatype = datatype_of(control.data_type)
        pair: tuple[float, ...] = ()
        if datatype not in _CORRID_DATATYPES:
            raise InvalidArgument(
                f"{where}: data_type {datatype} cannot hold a correlation id; allowed are "
                f"{', '.join(_CORRID_DATATYPES)}"
            )
    else:
        datatype, pair = _false_true(control, where)
    if spec.datatype != datatype:
        raise InvalidArgument(f"{where}: {datatype}, but the model's input is {spec.datatype}")
    dtype = tensors.dtype_of(datatype, name)
    values: tuple[Array, ...] = tuple(np.full(shape, value, dtype) for value in pair)
    return ControlInput(name, control.kind, dtype, shape, values)


def _false_true(control: _Batching.Control, where: str) -> tuple[str, tuple[float, ...]]:
    given = {d: tuple(getattr(control, f)) for d, f in _FALSE_TRUE.items() if getattr(control, f)}
    if len(given) != 1 or len(next(iter(given.values()))) != 2:
        raise InvalidArgument(
            f"{where}: needed is one of {', '.join(_FALSE_TRUE.values())} with two values"
        )
    ((datatype, pair),) = given.items()
    return datatype, pair
