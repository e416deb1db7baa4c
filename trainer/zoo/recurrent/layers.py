"""Layers that read a sequence one place after another: vanilla, LSTM and GRU.

Elman, "Finding structure in time", Cognitive Science 14(2), 1990; Hochreiter, Schmidhuber, "Long
short-term memory", Neural Computation 9(8), 1997, with the forget gate of Gers, Schmidhuber,
Cummins 2000; Cho et al. 2014, arXiv:1406.1078, §2.3. In both directions: Schuster, Paliwal,
"Bidirectional recurrent neural networks", IEEE Trans. Signal Processing 45(11), 1997.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Cell = Literal["rnn", "lstm", "gru"]
States = tuple[Tensor, ...]

_LAYERS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(nn.Module):
    """Layers of one kind of cell, each reading what the one below it answers.

    Recurrent weights begin orthogonal (Saxe, McClelland, Ganguli 2014), an LSTM's forget gates
    open, with a bias of 1 (Jozefowicz, Zaremba, Sutskever 2015, §2.2).

    Shape:
        x:       (N, T, input_size) float32.
        lengths: (N,) int64, places of each row, 1 to T; None: all T.
        states:  (N, layers · D, hidden_size) each: hidden and, of an LSTM, cell; empty: zeros.
        output:  (N, T, D · hidden_size), zeros behind a row's end, and the states there; D is 2
            in both directions and else 1.

    Args:
        cell: rnn (tanh), lstm or gru.
        input_size: numbers at each place.
        hidden_size: cells of a layer, in each direction.
        layers: one above another.
        bidirectional: read backwards, too; the outputs stand beside each other.
        dropout: of what goes from a layer to the next, in training.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.directions = 2 if bidirectional else 1
        self.output_size = self.directions * hidden_size
        self.layers = _LAYERS[cell](
            input_size,
            hidden_size,
            num_layers=layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,
        )
        self._initialise()

    @property
    def state_names(self) -> tuple[str, ...]:
        return ("hidden", "cell") if self.cell == "lstm" else ("hidden",)

    @property
    def state_shape(self) -> tuple[int, int]:
        """Of each state of a row."""
        return self.layers.num_layers * self.directions, self.layers.hidden_size

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, states: States = ()
    ) -> tuple[Tensor, States]:
        begun = tuple(rows.transpose(0, 1).contiguous() for rows in states)
        first = None if not begun else begun if self.cell == "lstm" else begun[0]
        if lengths is None:
            outputs, last = self.layers(x, first)
        else:
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            answered, last = self.layers(packed, first)
            outputs, _ = pad_packed_sequence(answered, batch_first=True, total_length=x.shape[1])
        ended = last if isinstance(last, tuple) else (last,)
        return outputs, tuple(rows.transpose(0, 1) for rows in ended)

    @torch.no_grad()
    def _initialise(self) -> None:
        for name, parameter in self.layers.named_parameters():
            if name.startswith("weight_hh"):
                for gate in parameter.chunk(len(parameter) // self.layers.hidden_size):
                    nn.init.orthogonal_(gate)
            elif name.startswith("bias_ih") and self.cell == "lstm":
                parameter.chunk(4)[1].fill_(1.0)  # torch's gates: input, forget, cell, output


def top(states: States, directions: int) -> Tensor:
    """The hidden states of the last layer, (N, D · H), from `Recurrent`'s."""
    return states[0][:, -directions:].flatten(1)
