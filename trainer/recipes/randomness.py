"""Random numbers by their place and not by their order.

What is drawn at a step follows from the seed, the purpose and the step alone. So no generator is
part of a training's state: one that goes on from a checkpoint draws what an undisturbed one draws,
and so do several processes that share its batches.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Generator


def derived_seed(seed: int, purpose: str, *place: int) -> int:
    """A seed of its own for each purpose and place: 63 bits."""
    text = f"{seed} {purpose} {' '.join(map(str, place))}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_of(seed: int, purpose: str, *place: int) -> Generator:
    """A generator on the CPU: the same numbers whatever the device is."""
    return Generator().manual_seed(derived_seed(seed, purpose, *place))


def seed_device(device: torch.device, seed: int) -> None:
    """Seeds what networks draw from on a device, for their dropout.

    `torch.manual_seed` would look for every kind of device, at each step.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
