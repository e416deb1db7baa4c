"""Which kinds of jobs the trainers do, and what does them."""

from __future__ import annotations

MODULES = {"train": "trainer.training", "prepare": "trainer.preparation.prepare"}
"""Kinds, and the modules whose `run(order_text, control)` does them in a process of its own."""

SEARCH = "search"
"""The kind, and the queue, of jobs that a worker does itself, beside its slots."""

CUDA_ROUTE = "train.cuda"
"""The queue of trainings that ask for a GPU."""


def routes(*, has_cuda: bool) -> tuple[str, ...]:
    """The queues that a worker takes jobs from."""
    return (*MODULES, SEARCH, CUDA_ROUTE) if has_cuda else (*MODULES, SEARCH)
