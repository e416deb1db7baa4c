"""Which kinds of jobs the trainers do, and what does them."""

from __future__ import annotations

MODULES = {"train": "trainer.training", "prepare": "trainer.preparation.prepare"}
"""Kinds, and the modules whose `run(order_text, control)` does them in a process of its own."""

CUDA_ROUTE = "train.cuda"
"""The queue of trainings that ask for a GPU."""


def routes(*, has_cuda: bool) -> tuple[str, ...]:
    """The queues that a worker takes jobs from."""
    return (*MODULES, CUDA_ROUTE) if has_cuda else tuple(MODULES)
