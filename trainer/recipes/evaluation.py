"""How good a network is on a part of the data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.data.dataset import Split
from trainer.recipes.examples import create_examples
from trainer.recipes.ranks import ALONE, Ranks
from trainer.recipes.task import Carried
from trainer.recipes.trained import Trained


def evaluate(trained: Trained, split: Split, ranks: Ranks = ALONE) -> dict[str, float]:
    """The metrics of the task over a part of the data, `loss` among them; in full precision.

    Args:
        trained: its network goes to eval mode.
        split: the part.
        ranks: that share the work; the answer is the same on each.
    """
    return measure(trained, trained.network, split, ranks)


@torch.no_grad()
def measure(
    trained: Trained, network: nn.Module, split: Split, ranks: Ranks = ALONE
) -> dict[str, float]:
    """As `evaluate`, of another network in the place of the one that is trained."""
    network.eval()
    task, device = trained.task, next(network.parameters()).device
    examples = create_examples(split, task, trained.dataset.info, device)
    batches = examples.batches(examples.evaluation_batch)
    carried: Carried = ()
    tallies: list[Tensor] = []
    # A rank that none is left for looks at one all the same, to know the tally's shape.
    for number in range(ranks.rank, max(len(batches), ranks.rank + 1), ranks.count):
        inputs, targets = examples.take(batches[number % len(batches)])
        answer = task.ask(network, trained.preprocessing(inputs), targets, carried)
        carried = answer.carried
        counts = 1.0 if number < len(batches) else 0.0
        tallies.append(counts * task.tally(answer.main, targets))
    return task.metrics(ranks.sum(torch.stack(tallies).sum(dim=0)).cpu(), len(split))
