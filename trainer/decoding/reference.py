"""The same writing as plain loops in PyTorch: what whole-sequence graphs are held to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor

from trainer.decoding.network import MAX_WRITTEN, Marks, Translator, Writer
from trainer.decoding.randomness import uniform_numbers


@dataclass(frozen=True)
class Said:
    """What was written, as `compose` describes it: (N, T), (N,), (N,), (N, T, S) or None.

    Attributes:
        margins: (N,), by how much each row's choices were clear, at the closest; where it is next
            to nothing, another order of the same sums may choose otherwise. None: not known.
    """

    tokens: Tensor
    lengths: Tensor
    scores: Tensor
    attention: Tensor | None = None
    margins: Tensor | None = None


@torch.no_grad()
def translate(network: Translator, source: Tensor, marks: Marks, max_tokens: int) -> Said:
    """The most likely token each time, until all rows have ended."""
    memory = network.memory(source)
    states = network.begin(memory)
    token = torch.full((len(source), 1), _known(marks.begin))
    done = torch.zeros(len(source), dtype=torch.bool)
    scores, lengths = torch.zeros(len(source)), torch.zeros(len(source), dtype=torch.int64)
    margins = torch.full((len(source),), torch.inf)
    tokens, looked = [], []
    for _ in range(max_tokens):
        logits, states, attention = network.step(token, states, memory)
        likely, order = torch.log_softmax(logits, dim=1).topk(2, dim=1)
        best, chosen = likely[:, 0], order[:, 0]
        clear = (best - likely[:, 1]).masked_fill(done, torch.inf)
        margins = torch.minimum(margins, clear)
        scores = scores + best.masked_fill(done, 0.0)
        lengths = lengths + (~done).long()
        tokens.append(chosen.masked_fill(done, marks.padding))
        if attention is not None:
            looked.append(attention.masked_fill(done[:, None], 0.0))
        done = done | (chosen == marks.end)
        token = chosen[:, None]
        if done.all():
            break
    seen = torch.stack(looked, dim=1) if looked else None
    return Said(torch.stack(tokens, dim=1), lengths, scores, seen, margins)


@torch.no_grad()
def translate_by_beam(
    network: Translator,
    source: Tensor,
    marks: Marks,
    max_tokens: int,
    *,
    width: int,
    length_penalty: float,
) -> Said:
    """The search of `beam`, one source after another."""
    said = [
        _search(network, row[None], marks, max_tokens, (width, length_penalty)) for row in source
    ]
    longest = max(each.tokens.shape[1] for each in said)

    def padded(tensor: Tensor) -> Tensor:
        shape = (1, longest - tensor.shape[1], *tensor.shape[2:])
        return torch.cat([tensor, torch.full(shape, 0, dtype=tensor.dtype)], dim=1)

    seen = [padded(each.attention) for each in said if each.attention is not None]
    return Said(
        torch.cat([padded(each.tokens) for each in said]),
        torch.cat([each.lengths for each in said]),
        torch.cat([each.scores for each in said]),
        torch.cat(seen) if seen else None,
    )


@dataclass(frozen=True)
class _Beam:
    score: Tensor
    tokens: tuple[int, ...]
    looked: tuple[Tensor, ...]
    states: tuple[Tensor, ...]
    is_done: bool


def _search(
    network: Translator, source: Tensor, marks: Marks, most: int, how: tuple[int, float]
) -> Said:
    (width, penalty), memory = how, network.memory(source)
    beams = [_Beam(torch.tensor(0.0), (), (), network.begin(memory), False)]
    for _ in range(most):
        ways: list[tuple[Tensor, _Beam, int | None, Tensor | None, tuple[Tensor, ...]]] = []
        for beam in beams:
            if beam.is_done:
                ways.append((beam.score, beam, None, None, beam.states))
                continue
            last = beam.tokens[-1] if beam.tokens else _known(marks.begin)
            logits, states, attention = network.step(torch.tensor([[last]]), beam.states, memory)
            for token, gain in enumerate(torch.log_softmax(logits, dim=1)[0]):
                ways.append((beam.score + gain, beam, token, attention, states))
        ways.sort(key=lambda way: -float(way[0]))  # of equals the first
        beams = []
        for score, beam, way, attention, states in ways[:width]:
            if way is None:
                beams.append(beam)
                continue
            looked = beam.looked if attention is None else (*beam.looked, attention[0])
            beams.append(_Beam(score, (*beam.tokens, way), looked, states, way == marks.end))
        if all(beam.is_done for beam in beams):
            break
    normalised = [b.score / ((5.0 + len(b.tokens)) / 6.0) ** penalty for b in beams]
    winner = int(torch.stack(normalised).argmax())
    best = beams[winner]
    return Said(
        torch.tensor([best.tokens]),
        torch.tensor([len(best.tokens)]),
        normalised[winner][None],
        torch.stack(best.looked)[None] if best.looked else None,
    )


@dataclass(frozen=True)
class Sampling:
    """How a language model writes; see `compose_writer`."""

    max_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


@torch.no_grad()
def write(network: Writer, prompt: Tensor, marks: Marks, sampling: Sampling) -> Said:
    """How the texts go on, one row after another; prompts (N, P) as `compose_writer` takes them."""
    rows = []
    for number, row in enumerate(prompt):

        def drawn(step: int, number: int = number) -> float:
            return float(uniform_numbers(sampling.seed, len(prompt), step)[number])

        rows.append(_written(network, row, marks, sampling, drawn))
    longest = max(len(tokens) for tokens, _, _ in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.int64)
    for row, (own, _, _) in zip(tokens, rows, strict=True):
        row[: len(own)] = torch.tensor(own)
    lengths = torch.tensor([len(own) for own, _, _ in rows])
    scores = torch.stack([score for _, score, _ in rows])
    return Said(tokens, lengths, scores, margins=torch.tensor([clear for _, _, clear in rows]))


def _written(
    network: Writer, row: Tensor, marks: Marks, sampling: Sampling, drawn: Callable[[int], float]
) -> tuple[list[int], Tensor, float]:
    begin = [] if marks.begin is None else [marks.begin]
    own = takewhile(lambda token: token != marks.padding, row.tolist())
    read = [*begin, *own] or [marks.padding]
    most = min(max(sampling.max_tokens, 1), MAX_WRITTEN)
    states = tuple(state.zeros(1) for state in network.states)
    tokens: list[int] = []
    score, margin = torch.tensor(0.0), float("inf")
    for iteration in range(len(read) - 1 + most):
        token = read[iteration] if iteration < len(read) else tokens[-1]
        logits, states = network.step(torch.tensor([[token]]), states)
        if iteration < len(read) - 1:
            continue
        chosen, clear = choose(logits[0], sampling, drawn(iteration))
        margin = min(margin, clear)
        score = score + torch.log_softmax(logits, dim=1)[0, chosen]
        tokens.append(chosen)
        if chosen == marks.end:
            break
    return tokens, score, margin


def choose(logits: Tensor, sampling: Sampling, drawn: float) -> tuple[int, float]:
    """The token that a number in [0, 1) draws from logits (V,), and how clear that was."""
    if not sampling.temperature > 0:  # NaN too
        first, second = logits.topk(2).values.tolist()
        return int(logits.argmax()), first - second
    order = np.argsort(-logits.double().numpy(), kind="stable")
    shares = torch.softmax(logits.double() / sampling.temperature, dim=0).numpy()[order]
    kept = np.arange(len(shares)) < (sampling.top_k if sampling.top_k > 0 else len(shares))
    shares = shares * kept / (shares * kept).sum()
    before = np.cumsum(shares) - shares
    shares = np.where(before < max(sampling.top_p, 1e-9), shares, 0.0)
    edges = np.cumsum(shares) - drawn * shares.sum()
    place = int((edges <= 0).sum())
    clear = min(np.abs(edges).min(), np.abs(before - sampling.top_p).min())
    last = int((shares > 0).sum()) - 1
    return int(order[max(min(place, last), 0)]), float(clear)


def _known(number: int | None) -> int:
    if number is None:
        raise ValueError("writing about a source needs a mark of its begin")
    return number
