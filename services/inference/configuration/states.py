"""The states that a manifest names, as a configuration says it: Triton's implicit state."""

from __future__ import annotations

import math
from collections.abc import Sequence

from services.inference.configuration.tensors import data_type
from wintergarden.store.manifest import StateInfo
from wintergarden.wire.model_config_pb2 import ModelConfig
from wintergarden.wire.tensors import dtype_of

# A person may sit between two requests of a sequence.
_IDLE_US = 60_000_000
# Of all sequences under way; by it, how many these may be.
_STATE_BYTES = 256 * 2**20
_FEWEST, _MOST = 16, 1024


def add_states(config: ModelConfig, states: Sequence[StateInfo]) -> None:
    """Let clients see sequences and no states, unless the configuration says how requests run.

    Args:
        config: is changed.
        states: of the manifest, at least one.
    """
    if config.WhichOneof("scheduling_choice") is not None:
        return
    batching = config.sequence_batching
    batching.max_sequence_idle_microseconds = _IDLE_US
    row_bytes = sum(
        math.prod(state.shape) * dtype_of(state.datatype, state.input).itemsize for state in states
    )
    batching.oldest.max_candidate_sequences = min(
        max(_STATE_BYTES // max(row_bytes, 1), _FEWEST), _MOST
    )
    for state in states:
        batching.state.add(
            input_name=state.input,
            output_name=state.output,
            data_type=data_type(state.datatype),
            dims=state.shape,
        )
