"""Recurrent layers as ONNX has them: one RNN, LSTM or GRU node each, with its rows' lengths.

PyTorch's exporter freezes what it unrolls, or fails; these nodes take any batch and length. What
they compute is held to the packed layers before anything is published.

https://onnx.ai/onnx/operators/onnx__LSTM.html and its like, version 14.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from trainer.zoo.recurrent.layers import Recurrent, States

_OPERATORS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
_GATES = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
"""PyTorch's gates in ONNX's order: LSTM has input, output, forget, cell; GRU update, reset, new."""
_VERSION = 14


class OnnxRecurrent(nn.Module):
    """In the place of a `Recurrent`, for the exporter alone: called elsewhere it answers zeros.

    Shape:
        as `Recurrent`.
    """

    def __init__(self, layers: Recurrent) -> None:
        super().__init__()
        self.cell, self.directions = layers.cell, layers.directions
        self.output_size = layers.output_size
        self.state_names, self.state_shape = layers.state_names, layers.state_shape
        self._count = layers.layers.num_layers
        self._hidden = layers.layers.hidden_size
        for number in range(self._count):
            for name, parts in (("W", ("weight_ih",)), ("R", ("weight_hh",)), ("B", _BIASES)):
                self.register_buffer(f"{name}{number}", _weights(layers, number, parts))

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, states: States = ()
    ) -> tuple[Tensor, States]:
        n, t = x.shape[:2]
        rows, places, d = x.transpose(0, 1), self._lengths(x, lengths), self.directions
        shapes = [(t, d, n, self._hidden), *([(d, n, self._hidden)] * len(self.state_names))]
        ended: list[tuple[Tensor, ...]] = []
        for number in range(self._count):
            begun = (s[:, number * d : (number + 1) * d].transpose(0, 1) for s in states)
            weights = (self.get_buffer(f"{name}{number}") for name in "WRB")
            outputs, *last = torch.onnx.ops.symbolic_multi_out(
                _OPERATORS[self.cell],
                [rows, *weights, places, *begun],
                self._attributes(),
                dtypes=[torch.float32] * len(shapes),
                shapes=shapes,
                version=_VERSION,
            )
            rows = outputs.permute(0, 2, 1, 3).flatten(2)  # (T, N, D · H)
            ended.append(tuple(state.transpose(0, 1) for state in last))
        finals = tuple(torch.cat(layers, dim=1) for layers in zip(*ended, strict=True))
        return rows.transpose(0, 1), finals

    def _lengths(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is not None:
            return lengths.to(torch.int32)
        # Of x, so that the batch stays one of any size.
        return torch.zeros_like(x[:, 0, 0], dtype=torch.int32) + x.shape[1]

    def _attributes(self) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            "hidden_size": self._hidden,
            "direction": "bidirectional" if self.directions == 2 else "forward",
        }
        if self.cell == "gru":
            attributes["linear_before_reset"] = 1  # as PyTorch has it
        return attributes


_BIASES = ("bias_ih", "bias_hh")


def _weights(layers: Recurrent, number: int, names: tuple[str, ...]) -> Tensor:
    """(D, gates · H, …): of both directions, the named ones of each one behind another."""
    suffixes = ("", "_reverse")[: layers.directions]
    order = _GATES[layers.cell]
    of_directions = []
    for suffix in suffixes:
        parts = []
        for name in names:
            gates = getattr(layers.layers, f"{name}_l{number}{suffix}").detach().chunk(len(order))
            parts += [gates[gate] for gate in order]
        of_directions.append(torch.cat(parts))
    return torch.stack(of_directions)


def exportable(module: nn.Module) -> nn.Module:
    """A copy of a module whose recurrent layers the exporter can take; itself, if it has none."""
    if not any(isinstance(part, Recurrent) for part in module.modules()):
        return module
    copied = copy.deepcopy(module)
    if isinstance(copied, Recurrent):
        return OnnxRecurrent(copied)
    for part in list(copied.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, Recurrent):
                setattr(part, name, OnnxRecurrent(child))
    return copied.eval()
