"""All graphs that a trained network is published as."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trainer.export.release import Release, make_release
from trainer.export.translation import Translation
from trainer.export.writing import Writing
from trainer.recipes.trained import Trained

_WRITING = ("sequence-to-sequence", "captioning", "language-modelling")


def make_releases(
    trained: Trained,
    model: str,
    variants: Sequence[str] = (),
    warn: Callable[[str], None] = lambda text: None,
) -> list[Release]:
    """Exports a trained network, and proves and measures what came of it.

    A network that writes has siblings, whose names end with a suffix; the one without, which
    stands for all of them, comes last.

    Args:
        trained: the network, and what it was trained on.
        model: its name, for the card.
        variants: precisions to have beside fp32; of a network that writes there are none.
        warn: told what a person should know.

    Raises:
        DataLoss: an exported graph does not compute what the network computes.
    """
    task = trained.dataset.info.task
    if task not in _WRITING:
        return [make_release(trained, model, variants, warn)]
    for precision in dict.fromkeys(variants):
        warn(f"variant {precision} is left out: a network that writes is served in fp32 alone")
    if task == "language-modelling":
        return Writing(trained, model).releases()
    return Translation(trained, model).releases()
