"""A part of the data in the host's memory, and the batches that a pass over it is made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from trainer.data.dataset import DatasetInfo, Split
from trainer.recipes.task import Task
from wintergarden.text import BEGIN, PADDING

_WINDOW = 32  # batches, within which texts go together by length


class Examples:
    """Examples one by one, in any order.

    Args:
        split: the part.
        task: that makes targets of its labels.
        device: to which batches go.
    """

    evaluation_batch = 512

    def __init__(self, split: Split, task: Task, device: torch.device) -> None:
        self._inputs, self._targets = torch.from_numpy(split.inputs), task.targets(split.labels)
        self._target_padding = task.target_padding
        self._device = device

    def __len__(self) -> int:
        return len(self._inputs)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example's input."""
        return tuple(self._inputs.shape[1:])

    def batches(self, size: int, generator: Generator | None = None) -> Sequence[Tensor]:
        """The indices of each batch of a pass over all; as many whatever the generator.

        Args:
            size: of a batch; the last may be smaller.
            generator: of the order; None: theirs.
        """
        if generator is None:
            order = torch.arange(len(self))
        else:
            order = torch.randperm(len(self), generator=generator)
        batches: tuple[Tensor, ...] = order.split(size)
        return batches

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The examples of these indices and their targets, on the device."""
        targets = self._targets[indices]
        if self._target_padding is not None:
            targets = cropped(targets, self._target_padding)
        return self._sent(self._inputs[indices]), self._sent(targets)

    def _sent(self, values: Tensor) -> Tensor:
        if self._device.type != "cuda":
            return values
        return values.pin_memory().to(self._device, non_blocking=True)


class Texts(Examples):
    """Token ids (N, T); a batch is as long as its longest text, and holds texts of like length."""

    evaluation_batch = 128

    def batches(self, size: int, generator: Generator | None = None) -> Sequence[Tensor]:
        lengths = lengths_of(self._inputs)
        if generator is None:
            in_order: tuple[Tensor, ...] = torch.argsort(lengths, stable=True).split(size)
            return in_order
        order = torch.randperm(len(self), generator=generator)
        windows = (w[torch.argsort(lengths[w], stable=True)] for w in order.split(_WINDOW * size))
        batches = [batch for window in windows for batch in window.split(size)]
        return [batches[i] for i in torch.randperm(len(batches), generator=generator)]

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        inputs, targets = super().take(indices)
        return cropped(inputs, PADDING), targets


class Streams(Texts):
    """Documents in pieces (M, T), those of a document one after another, its first with its begin.

    Documents are dealt to streams of like length, and the k-th batch is of the k-th piece of each
    stream that is not over: a row goes on where the same row of the batch before it ended. What a
    network carries over is its rows', then; batches become smaller, from the end, when streams
    are over.
    """

    evaluation_batch = 64

    def batches(self, size: int, generator: Generator | None = None) -> Sequence[Tensor]:
        starts = (self._inputs[:, 0] == BEGIN).nonzero().flatten().tolist()
        ends = [*starts[1:], len(self)]
        documents = [torch.arange(a, b) for a, b in zip(starts, ends, strict=True)]
        streams = [torch.cat(_shuffled(s, generator)) for s in deal(documents, size)]
        longest = max(map(len, streams))
        return [torch.stack([s[k] for s in streams if len(s) > k]) for k in range(longest)]


def create_examples(split: Split, task: Task, info: DatasetInfo, device: torch.device) -> Examples:
    """A part of a data set, as its task wants it."""
    kind = Examples if info.vocabulary is None else Streams if task.carries else Texts
    return kind(split, task, device)


def deal(documents: Sequence[Tensor], count: int) -> list[list[Tensor]]:
    """Documents in at most so many streams of like length, the longest stream first.

    The longest document goes first, each to the stream that is shortest so far (Graham, "Bounds on
    multiprocessing timing anomalies", 1969).
    """
    streams: list[list[Tensor]] = [[] for _ in range(min(count, len(documents)))]
    sizes = [0] * len(streams)
    for document in sorted(documents, key=len, reverse=True):
        shortest = sizes.index(min(sizes))
        streams[shortest].append(document)
        sizes[shortest] += len(document)
    order = sorted(range(len(streams)), key=lambda number: -sizes[number])
    return [streams[number] for number in order]


def lengths_of(ids: Tensor) -> Tensor:
    """(N,) int64, the place behind the last token of each row of ids (N, T)."""
    places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    return ((ids != PADDING) * places).amax(dim=1)


def cropped(values: Tensor, padding: int) -> Tensor:
    """Rows (N, T, …) without the end in which all of them are padding; one place stays."""
    there = (values != padding).flatten(2).any(dim=2) if values.ndim > 2 else values != padding
    used = there.any(dim=0).nonzero()
    return values[:, : int(used[-1]) + 1 if len(used) else 1]


def _shuffled(documents: Sequence[Tensor], generator: Generator | None) -> list[Tensor]:
    if generator is None:
        return list(documents)
    return [documents[i] for i in torch.randperm(len(documents), generator=generator)]
