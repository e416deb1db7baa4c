"""Proves that graphs that write, or are told what was written, do what the network does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from trainer.data.dataset import Array
from trainer.decoding import reference
from trainer.decoding.beam import Beams
from trainer.decoding.compose import LENGTHS, PROMPT, SCORES, TOKENS
from trainer.decoding.network import Marks, Translator, Writer
from trainer.decoding.parts import ATTENTION, LOGITS, TOKEN
from trainer.decoding.reference import Said, Sampling
from trainer.export.parity import TOLERANCE, Parity
from wintergarden.errors import DataLoss
from wintergarden.runtime import Session
from wintergarden.text import PADDING

CLEAR = 1e-3
"""How much likelier than the next a choice must be for all who add in another order to make it."""
SAMPLINGS = (
    Sampling(12),
    Sampling(12, temperature=1.0, seed=1),
    Sampling(8, temperature=0.7, top_k=5, top_p=0.9, seed=-7),
)
_STEPS = 5
_PROMPTS = ((1, 1), (2, 9), (7, 4), (3, 0))
"""Rows and lengths; nothing to go on with is a prompt too."""


def run(session: Session, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What a graph of several inputs answers, by name."""
    names = [output.name for output in session.outputs]
    return dict(zip(names, session.run(feeds), strict=True))


def said(network: Translator, source: Array, marks: Marks, beams: Beams) -> Said:
    """What PyTorch's own loop writes about sources (N, …)."""
    given = torch.from_numpy(source)
    if beams.width == 1:
        return reference.translate(network, given, marks, beams.most)
    width, penalty = beams.width, beams.length_penalty
    return reference.translate_by_beam(
        network, given, marks, beams.most, width=width, length_penalty=penalty
    )


def check_translation(
    network: Translator,
    session: Session,
    sources: Iterable[Array],
    marks: Marks,
    beams: Beams,
) -> Parity:
    """Holds a graph that writes about sources to PyTorch's loop, token for token.

    Raises:
        DataLoss: a row that was clear is another.
    """
    parity = Parity()
    name = session.inputs[0].name
    for source in sources:
        _compare(run(session, {name: source}), said(network, source, marks, beams), parity)
    return parity


def check_writing(network: Writer, session: Session, prompts: Array, marks: Marks) -> Parity:
    """Holds a graph that goes on with prompts (N, P) to PyTorch's loop, in every way to draw.

    Raises:
        DataLoss: a row that was clear is another.
    """
    parity = Parity()
    for number, (rows, length) in enumerate(_PROMPTS):
        prompt = np.resize(prompts, (rows, prompts.shape[1]))[:, :length]
        prompt[:1, length // 3 : length // 3 + 1] = PADDING  # the first has a hole, and ends there
        prompt[-1:, length // 2 :] = PADDING  # the last is shorter, or empty
        sampling = SAMPLINGS[number % len(SAMPLINGS)]
        expected = reference.write(network, torch.from_numpy(prompt), marks, sampling)
        _compare(run(session, prompt_feeds(prompt, sampling)), expected, parity)
    return parity


def prompt_feeds(prompt: Array, sampling: Sampling) -> dict[str, Array]:
    """The inputs of a graph that goes on with prompts."""
    return {
        PROMPT: prompt,
        "max_tokens": np.array([sampling.max_tokens]),
        "temperature": np.array([sampling.temperature], np.float32),
        "top_k": np.array([sampling.top_k]),
        "top_p": np.array([sampling.top_p], np.float32),
        "seed": np.array([sampling.seed]),
    }


def _compare(got: Mapping[str, Array], expected: Said, parity: Parity) -> None:
    rows = np.arange(len(expected.tokens))
    if expected.margins is not None:
        rows = rows[expected.margins.numpy() > CLEAR]
    agreeing = []
    for row in rows:
        length = int(expected.lengths[row])
        wrote = got[TOKENS][row, : got[LENGTHS][row]].tolist()
        wanted = expected.tokens[row, :length].tolist()
        score = float(expected.scores[row])
        # Of a beam nothing says how clear it was; ways that are as good are as good an answer.
        as_good = expected.margins is None and abs(got[SCORES][row] - score) <= CLEAR
        if wrote != wanted and not as_good:
            raise DataLoss(
                f"the exported graph is not the network: of {len(expected.tokens)} texts, text "
                f"{row} is {wrote} and not {wanted}"
            )
        if wrote == wanted:
            agreeing.append(row)
    if not agreeing:
        return
    _add(parity, SCORES, expected.scores.numpy()[agreeing], got[SCORES][agreeing])
    if expected.attention is not None:
        wide = min(got[ATTENTION].shape[1], expected.attention.shape[1])
        attention = expected.attention.numpy()[agreeing, :wide]
        _add(parity, ATTENTION, attention, got[ATTENTION][agreeing, :wide])


def check_answers(
    module: nn.Module, session: Session, calls: Iterable[Mapping[str, Array]], names: Sequence[str]
) -> Parity:
    """Holds a graph to a module that takes the same inputs in the same order, and answers `names`.

    Raises:
        DataLoss: an answer is another.
    """
    parity = Parity()
    for feeds in calls:
        with torch.no_grad():
            answers = module(*(torch.from_numpy(array) for array in feeds.values()))
        got = run(session, feeds)
        for name, answer in zip(names, answers, strict=True):
            _add(parity, name, answer.numpy(), got[name])
    return parity


def check_steps(network: Writer, session: Session, classes: int) -> Parity:
    """Takes a step graph and the network some steps from their first states, side by side.

    Raises:
        DataLoss: logits or states are others.
    """
    parity = Parity()
    generator = torch.Generator().manual_seed(0)
    for rows in (1, 2, 7):
        states = tuple(state.zeros(rows) for state in network.states)
        kept = {
            state.name: zeros.numpy() for state, zeros in zip(network.states, states, strict=True)
        }
        for _ in range(_STEPS):
            token = torch.randint(0, classes, (rows, 1), generator=generator)
            with torch.no_grad():
                logits, states = network.step(token, states)
            got = run(session, {TOKEN: token.numpy(), **kept})
            _add(parity, LOGITS, logits.numpy(), got[LOGITS])
            for state, tensor in zip(network.states, states, strict=True):
                _add(parity, state.output, tensor.numpy(), got[state.output])
                kept[state.name] = got[state.output]
    return parity


def _add(parity: Parity, name: str, expected: Array, got: Array) -> None:
    if expected.shape != got.shape:
        raise DataLoss(
            f"the exported graph is not the network: output {name!r} has shape {list(got.shape)} "
            f"and not {list(expected.shape)}"
        )
    difference = parity.add(name, expected, got)
    if not difference <= TOLERANCE:
        raise DataLoss(
            f"the exported graph is not the network: output {name!r} differs by {difference:.3g} "
            f"at shape {list(expected.shape)}; at most {TOLERANCE:.3g} is allowed"
        )
