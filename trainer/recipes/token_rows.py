"""Rows of weights that stand for tokens: from the ids of one vocabulary to those of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor

from wintergarden.text import Vocabulary


class Numbered(Protocol):
    """Whatever has its texts numbered, such as a data set or a model."""

    @property
    def vocabulary(self) -> Vocabulary | None: ...

    @property
    def target_vocabulary(self) -> Vocabulary | None: ...


def by_token(
    given: Mapping[str, Tensor], old: Numbered, own: Mapping[str, Tensor], new: Numbered
) -> Iterator[tuple[str, Tensor, int]]:
    """Tensors whose rows stand for tokens, with each row where its token is now.

    Where there are more or other tokens than before, their rows are the network's own.

    Args:
        given: a state dict.
        old: how its tokens are numbered.
        own: the state dict of the network that is to have its weights.
        new: how that network's tokens are numbered.

    Yields:
        A name, a tensor of the shape of the network's own, and how many of its rows are given.
    """
    before = _by_module(old)
    for module, vocabulary in _by_module(new).items():
        former = before[module]
        if vocabulary is None or former is None:
            continue
        for name, tensor in own.items():
            wanted, there = (vocabulary.size, *tensor.shape[1:]), (former.size, *tensor.shape[1:])
            is_of_it = name.startswith(f"{module}.") and tensor.shape == wanted
            if not is_of_it or name not in given or given[name].shape != there:
                continue
            rows = _ids(former)
            pairs = [(n, rows[token]) for token, n in _ids(vocabulary).items() if token in rows]
            to, from_ = torch.tensor(pairs).T
            moved = tensor.cpu().clone()
            moved[to] = given[name][from_].to(moved.dtype)
            yield name, moved, len(pairs)


def _by_module(numbered: Numbered) -> dict[str, Vocabulary | None]:
    """The vocabulary of a module's rows, by the names that all networks of texts give these."""
    return {
        "embedding": numbered.vocabulary,
        "target_embedding": numbered.target_vocabulary,
        "read_out": numbered.target_vocabulary or numbered.vocabulary,
    }


def _ids(vocabulary: Vocabulary) -> dict[int | str, int]:
    """The id of each token, and of padding, of what is unknown and of marks: their numbers."""
    first = vocabulary.size - len(vocabulary.tokens)
    marks: dict[int | str, int] = {number: number for number in range(first)}
    return marks | {token: number for number, token in enumerate(vocabulary.tokens, first)}
