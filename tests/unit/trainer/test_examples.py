"""Batches: all examples once, texts of like length together, documents that go on row by row."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.dataset import Split
from trainer.recipes.examples import Examples, Streams, Texts, cropped, lengths_of
from trainer.recipes.sequence_tasks import LanguageModelling, SequenceToSequence
from trainer.recipes.tasks import Classification
from wintergarden.text import BEGIN, Vocabulary

CPU = torch.device("cpu")
VOCABULARY = Vocabulary("character", ("a", "b"), 100, is_marked=True)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def texts(lengths: list[int]) -> Texts:
    ids = np.zeros((len(lengths), max([1, *lengths])), np.int64)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = 2
    return Texts(Split(ids, np.arange(len(lengths))), Classification(), CPU)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=50), st.integers(1, 7), st.integers(0, 3))
def test_every_text_comes_once(lengths: list[int], size: int, seed: int) -> None:
    examples = texts(lengths)
    for order in (None, generator(seed)):
        batches = examples.batches(size, order)
        assert sorted(int(i) for batch in batches for i in batch) == list(range(len(lengths)))
        assert len(batches) == -(-len(lengths) // size)
        assert all(len(batch) <= size for batch in batches)


def test_texts_of_like_length_are_together_and_in_no_order() -> None:
    lengths = torch.randint(1, 100, (640,), generator=generator(0)).tolist()
    examples = texts(lengths)
    batches = examples.batches(16, generator(1))
    spread = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in batches]
    assert np.mean(spread) < 10
    means = [float(np.mean([lengths[i] for i in b])) for b in batches]
    assert means != sorted(means)
    again = examples.batches(16, generator(1))
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))
    inputs, labels = examples.take(batches[0])
    assert inputs.shape[1] == max(lengths[i] for i in batches[0])
    assert torch.equal(labels, batches[0])


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(1, 5), st.integers(0, 3))
def test_rows_go_on_where_they_ended(documents: list[int], rows: int, seed: int) -> None:
    ids = np.full((sum(documents), 4), 5, np.int64)
    ids[np.cumsum([0, *documents[:-1]]), 0] = BEGIN
    task = LanguageModelling(ids, VOCABULARY)
    examples = Streams(Split(ids, ids), task, CPU)
    counts = set()
    for order in (None, generator(seed), generator(seed + 1)):
        batches = examples.batches(rows, order)
        counts.add(len(batches))
        assert sorted(int(i) for batch in batches for i in batch) == list(range(len(ids)))
        sizes = [len(batch) for batch in batches]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] == min(rows, len(documents))
        assert all(ids[i, 0] == BEGIN for i in batches[0])
        for before, after in pairwise(batches):
            for row, piece in enumerate(after):
                assert piece == before[row] + 1 or ids[piece, 0] == BEGIN
    assert len(counts) == 1


def test_what_is_padding_everywhere_is_left_out() -> None:
    ids = torch.tensor([[4, 0, 0, 0], [0, 4, 0, 0]])
    assert cropped(ids, 0).tolist() == [[4, 0], [0, 4]]
    assert cropped(0 * ids, 0).shape == (2, 1)
    assert lengths_of(ids).tolist() == [1, 2]
    labels = np.array([[2, 4, 3, 0], [2, 3, 0, 0]])
    task = SequenceToSequence(labels)
    taken = Examples(Split(np.zeros((2, 3), np.float32), labels), task, CPU).take(torch.tensor([1]))
    assert taken[1].tolist() == [[2, 3]]
