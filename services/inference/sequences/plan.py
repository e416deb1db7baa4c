"""How sequences of a model are run, as `sequence_batching` of its configuration says.

Triton's `ModelSequenceBatching`. Knows no requests and keeps no state: it says which tensors of
the graph a client never sees, and how many sequences may go on at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from services.inference.scheduling.scheduler import Array
from services.inference.sequences.tensors import ControlInput, State, read_control, read_state
from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.runtime import TensorSpec
from wintergarden.wire import model_config_pb2 as pb

_IDLE_US = 1_000_000  # Triton's default


def own_tensors(config: pb.ModelConfig) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the graph's inputs and outputs that no client sees.

    A state's output is seen all the same when the configuration lists it as an output.
    """
    batching = config.sequence_batching
    inputs = {c.name for c in batching.control_input} | {s.input_name for s in batching.state}
    outputs = {s.output_name for s in batching.state} - {o.name for o in config.output}
    return frozenset(inputs), frozenset(outputs)


@dataclass(frozen=True)
class SequencePlan:
    """How sequences of a model version are run; found out when it was loaded.

    A request's own feeds come first, then the states, then the controls: `order` picks the
    graph's inputs from these.

    Attributes:
        order: for each input of the graph, its place among feeds, states and controls.
        answered: positions of the graph's outputs that the client gets.
        state_outputs: for each state, the position of its output among the graph's.
        states: in the configuration's order.
        controls: in the configuration's order.
        max_candidates: sequences that may go on at once; others wait for one to end.
        max_idle_s: a sequence without a request for so long ends.
        max_waiting: requests that may wait before sequences that are new are refused; those
            under way find twice that room.
        drain_s: how long sequences under way may go on once the version is replaced.
        is_batched: axis 0 of every tensor counts sequences.
        max_queue_delay_us: for the engine: how long it may wait for more sequences.
        preferred_rows: for the engine: sizes of a run that end that wait.
    """

    order: tuple[int, ...]
    answered: tuple[int, ...]
    state_outputs: tuple[int, ...]
    states: tuple[State, ...]
    controls: tuple[ControlInput, ...]
    max_candidates: int
    max_idle_s: float = _IDLE_US / 1e6
    max_waiting: int = 1024
    drain_s: float = 60.0
    is_batched: bool = True
    max_queue_delay_us: int = 0
    preferred_rows: tuple[int, ...] = ()

    @cached_property
    def initial_states(self) -> tuple[Array, ...]:
        """What the first run of a sequence is fed."""
        return tuple(state.initial for state in self.states)

    @cached_property
    def has_open_states(self) -> bool:
        """Sequences may differ in the sizes of their states, and then cannot share a run."""
        return any(state.is_open for state in self.states)

    @classmethod
    def of(
        cls,
        config: pb.ModelConfig,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        read_initial_state: Callable[[str], bytes],
        *,
        instances: int = 1,
        max_waiting: int = 1024,
        drain_s: float = 60.0,
    ) -> Self:
        """Reads the configuration against the graph.

        Args:
            config: with `sequence_batching`.
            inputs: of the graph, in its order.
            outputs: of the graph, in its order.
            read_initial_state: the content of a file in the model's folder `initial_state`.
            instances: runs of the model that go on at once.
            max_waiting: see the attribute.
            drain_s: see the attribute.

        Raises:
            InvalidArgument: a state or control does not fit the graph.
            Unsupported: iterative sequences.
        """
        batching = config.sequence_batching
        if batching.iterative_sequence:
            raise Unsupported(
                "sequence_batching.iterative_sequence: an ONNX model cannot ask to be run again; "
                "leave it out"
            )
        is_batched = config.max_batch_size > 0
        by_name = {spec.name: spec for spec in inputs}
        positions = {spec.name: i for i, spec in enumerate(outputs)}
        results = {spec.name: spec for spec in outputs}
        states = [
            read_state(s, by_name, results, is_batched, read_initial_state) for s in batching.state
        ]
        controls = [read_control(c, by_name, is_batched) for c in batching.control_input]
        own_inputs, own_outputs = own_tensors(config)
        if len(own_inputs) != len(states) + len(controls):
            raise InvalidArgument(
                "sequence_batching: an input is named by two of state and control_input"
            )
        client = [spec.name for spec in inputs if spec.name not in own_inputs]
        names = [*client, *(s.input_name for s in states), *(c.name for c in controls)]
        delay_us, preferred = _company(batching, config.max_batch_size)
        return cls(
            order=tuple(names.index(spec.name) for spec in inputs),
            answered=tuple(i for i, spec in enumerate(outputs) if spec.name not in own_outputs),
            state_outputs=tuple(positions[s.output_name] for s in states),
            states=tuple(states),
            controls=tuple(controls),
            max_candidates=instances * _candidates(batching, config.max_batch_size),
            max_idle_s=(batching.max_sequence_idle_microseconds or _IDLE_US) / 1e6,
            max_waiting=max_waiting,
            drain_s=drain_s,
            is_batched=is_batched,
            max_queue_delay_us=delay_us,
            preferred_rows=preferred,
        )


def _candidates(batching: pb.ModelSequenceBatching, max_batch_size: int) -> int:
    """Sequences of one instance: the batch's slots (direct) or as configured (oldest)."""
    if batching.HasField("oldest"):
        return max(1, batching.oldest.max_candidate_sequences)
    return max(1, max_batch_size)


def _company(
    batching: pb.ModelSequenceBatching, max_batch_size: int
) -> tuple[int, tuple[int, ...]]:
    """How long a run waits for more sequences, and what number of them ends the wait."""
    if batching.HasField("oldest"):
        oldest = batching.oldest
        return oldest.max_queue_delay_microseconds, tuple(oldest.preferred_batch_size)
    direct = batching.direct
    utilization = direct.minimum_slot_utilization
    if not 0 <= utilization <= 1:
        raise InvalidArgument(
            f"sequence_batching.direct.minimum_slot_utilization: {utilization}; allowed is 0 to 1",
            field="sequence_batching.direct.minimum_slot_utilization",
        )
    if not utilization:
        return 0, ()
    slots = math.ceil(utilization * max_batch_size)
    return direct.max_queue_delay_microseconds, (max(1, slots),)
