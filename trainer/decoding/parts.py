"""A network's step, and its encoder, as ONNX graphs: what whole-sequence graphs are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
import torch
from torch import Tensor, nn

from trainer.decoding.network import State, Translator, Writer
from trainer.export.graph import export_graph

TOKEN, LOGITS, ATTENTION, SOURCE = "token", "logits", "attention", "source"
_ROWS = 3  # of the examples that are exported by: neither 1 nor anything's size


@dataclass(frozen=True)
class Parts:
    """Graphs that were exported once.

    Attributes:
        step: `token` INT64 [N, 1], the states and the memories → `logits` FP32 [N, V], the next
            states and, where it attends, `attention` FP32 [N, S].
        states: that it carries.
        encoder: of a translator: the source → memories and first states. None: they are zeros.
        memories: names.
        attends: whether there is an `attention`.
        classes: V.
    """

    step: onnx.ModelProto
    states: tuple[State, ...]
    encoder: onnx.ModelProto | None
    memories: tuple[str, ...]
    attends: bool
    classes: int


def writer_parts(network: Writer) -> Parts:
    """Exports a language model's step."""
    states = network.states
    examples: dict[str, Tensor] = {TOKEN: torch.ones(_ROWS, 1, dtype=torch.int64)}
    examples |= {state.name: state.zeros(_ROWS) for state in states}
    model = export_graph(
        _WriterStep(network).eval(),
        examples,
        {name: (0,) for name in examples},
        (LOGITS, *(state.output for state in states)),
    )
    return Parts(model, states, None, (), False, _classes(model))


def translator_parts(
    network: Translator, sources: Mapping[str, Tensor], axes: Sequence[int] = ()
) -> Parts:
    """Exports an encoder and a decoder's step.

    Args:
        network: in eval mode.
        sources: the source's name and an example (3, …) of it.
        axes: of the source that may be of any length, beside the first.
    """
    ((name, source),) = sources.items()
    states = network.states
    encoder = export_graph(
        _Encoder(network).eval(),
        {name: source},
        {name: (0, *axes)},
        (*network.memories, *(state.name for state in states)),
    )
    with torch.no_grad():
        memory = network.memory(source)
        begun = network.begin(memory)
        _, _, attention = network.step(torch.ones(len(source), 1, dtype=torch.int64), begun, memory)
    examples = {TOKEN: torch.ones(len(source), 1, dtype=torch.int64)}
    examples |= {state.name: tensor for state, tensor in zip(states, begun, strict=True)}
    examples |= dict(zip(network.memories, memory, strict=True))
    free: dict[str, tuple[int, ...]] = {name: (0,) for name in examples}
    for output in encoder.graph.output[: len(network.memories)]:
        sizes = output.type.tensor_type.shape.dim
        free[output.name] = tuple(axis for axis, size in enumerate(sizes) if size.dim_param)
    answers = [LOGITS, *(state.output for state in states)]
    if attention is not None:
        answers.append(ATTENTION)
    model = export_graph(_TranslatorStep(network).eval(), examples, free, answers)
    return Parts(model, states, encoder, network.memories, attention is not None, _classes(model))


def _classes(step: onnx.ModelProto) -> int:
    return int(step.graph.output[0].type.tensor_type.shape.dim[1].dim_value)


class _WriterStep(nn.Module):
    def __init__(self, network: Writer) -> None:
        super().__init__()
        self.network = network

    def forward(self, token: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        logits, following = self.network.step(token, states)
        return logits, *following


class _Encoder(nn.Module):
    def __init__(self, network: Translator) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor) -> tuple[Tensor, ...]:
        memory = self.network.memory(source)
        return *memory, *self.network.begin(memory)


class _TranslatorStep(nn.Module):
    def __init__(self, network: Translator) -> None:
        super().__init__()
        self.network = network
        self._states = len(network.states)

    def forward(self, token: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        states, memory = rest[: self._states], rest[self._states :]
        logits, following, attention = self.network.step(token, states, memory)
        return (logits, *following) if attention is None else (logits, *following, attention)
