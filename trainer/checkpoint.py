"""A checkpoint: a training's state, and what it is the state of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch

from trainer.data.dataset import Dataset
from trainer.recipes.hyperparameters import Hyperparameters
from trainer.state_file import pack, unpack
from wintergarden.errors import DataLoss, FailedPrecondition

SCHEMA_VERSION = 1
_SAME_TRAINING = ("architecture", "hyperparameters", "dataset_digest", "seed")
_SAME_BITS = ("processes", "device", "torch", "threads", "cpu")


@dataclass(frozen=True)
class Origin:
    """What a checkpoint is the state of, and where it was taken.

    Attributes:
        device: "cpu" or "cuda".
        torch: the version.
        threads: of each process.
        cpu: the instruction set that PyTorch's kernels use.
    """

    architecture: str
    hyperparameters: Mapping[str, Any]
    dataset_digest: str
    seed: int
    processes: int
    device: str
    torch: str
    threads: int
    cpu: str

    @classmethod
    def here(
        cls,
        architecture: str,
        hyperparameters: Hyperparameters,
        dataset: Dataset,
        seed: int,
        *,
        device: str = "cpu",
        processes: int = 1,
    ) -> Self:
        """The origin of what this process trains; call it once the thread count is settled."""
        return cls(
            architecture=architecture,
            hyperparameters=hyperparameters.model_dump(mode="json"),
            dataset_digest=dataset.digest,
            seed=seed,
            processes=processes,
            device=device,
            torch=torch.__version__,
            threads=torch.get_num_threads(),
            cpu=torch.backends.cpu.get_cpu_capability(),
        )

    def compare(self, taken: Origin) -> list[str]:
        """Why a training resumed here may end at other weights, bit by bit, than undisturbed.

        Args:
            taken: the origin of the checkpoint.

        Raises:
            FailedPrecondition: it is a checkpoint of another training.
        """
        for name in _SAME_TRAINING:
            here, there = getattr(self, name), getattr(taken, name)
            if here != there:
                raise FailedPrecondition(
                    f"the checkpoint is of another training: its {name} is {there!r:.200}, and "
                    f"this training's is {here!r:.200}"
                )
        return [
            f"{name} was {getattr(taken, name)} and is {getattr(self, name)}"
            for name in _SAME_BITS
            if getattr(self, name) != getattr(taken, name)
        ]


def encode(origin: Origin, state: Mapping[str, Any]) -> bytes:
    """A checkpoint of a state, as a safetensors file.

    Raises:
        TypeError: there is something in the state that is neither tensor nor plain value.
    """
    metadata = {"schema_version": str(SCHEMA_VERSION), "origin": json.dumps(asdict(origin))}
    return pack(state, metadata)


def decode(content: bytes) -> tuple[Origin, dict[str, Any]]:
    """The origin and the state of a checkpoint; tensors are on the CPU.

    Raises:
        DataLoss: it is truncated, corrupt or no checkpoint.
        FailedPrecondition: a newer version of this software wrote it.
    """
    metadata, state = unpack(content)
    try:
        version = int(metadata["schema_version"])
        if version > SCHEMA_VERSION:
            raise FailedPrecondition(
                f"a newer trainer took the checkpoint, with schema version {version}; this one "
                f"reads up to {SCHEMA_VERSION}"
            )
        taken = json.loads(metadata["origin"])
        return Origin(**{field.name: taken[field.name] for field in fields(Origin)}), state
    except (ValueError, KeyError, TypeError) as error:
        raise DataLoss(f"no checkpoint: {type(error).__name__}: {error}") from error
