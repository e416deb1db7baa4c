"""Checkpoints as bytes: a training's state and what it is the state of, in one safetensors file.

The file's tensors are named by their place in the state ("optimizer.state.0.exp_avg"); its
metadata holds the rest of the state and the origin as JSON, and a sha256 of all of it. Nothing is
ever unpickled: a store that others can write to cannot make a worker run their code.

https://huggingface.co/docs/safetensors: 8 bytes of header length, a JSON header, the tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from trainer.data.dataset import Dataset
from trainer.recipes.hyperparameters import Hyperparameters
from wintergarden.errors import DataLoss, FailedPrecondition

SCHEMA_VERSION = 1
_LENGTH_BYTES, _ALIGNMENT = 8, 8


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
        for name in ("architecture", "hyperparameters", "dataset_digest", "seed"):
            here, there = getattr(self, name), getattr(taken, name)
            if here != there:
                raise FailedPrecondition(
                    f"the checkpoint is of another training: its {name} is {there!r:.200}, and "
                    f"this training's is {here!r:.200}"
                )
        return [
            f"{name} was {getattr(taken, name)} and is {getattr(self, name)}"
            for name in ("processes", "device", "torch", "threads", "cpu")
            if getattr(self, name) != getattr(taken, name)
        ]


def encode(origin: Origin, state: Mapping[str, Any]) -> bytes:
    """A checkpoint of a state.

    Raises:
        TypeError: there is something in the state that is neither tensor nor plain value.
    """
    tensors: dict[str, Tensor] = {}
    plain = _without_tensors(state, "", tensors)
    metadata = {
        "schema_version": str(SCHEMA_VERSION),
        "origin": json.dumps(asdict(origin)),
        "state": json.dumps(plain),
    }
    content = memoryview(safetensors.torch.save(tensors, metadata))
    header, body = _split(content)
    header["__metadata__"]["sha256"] = _digest(header, body)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join((len(text).to_bytes(_LENGTH_BYTES, "little"), text, body))


def decode(content: bytes) -> tuple[Origin, dict[str, Any]]:
    """The origin and the state of a checkpoint; tensors are on the CPU.

    Raises:
        DataLoss: it is truncated, corrupt or no checkpoint.
        FailedPrecondition: a newer version of this software wrote it.
    """
    try:
        header, body = _split(memoryview(content))
        metadata = header["__metadata__"]
        claimed = metadata.pop("sha256")
        if claimed != _digest(header, body):
            raise DataLoss(f"the checkpoint of {len(content)} bytes is corrupt: wrong sha256")
        if int(metadata["schema_version"]) > SCHEMA_VERSION:
            raise FailedPrecondition(
                f"the checkpoint has schema version {metadata['schema_version']}; this trainer "
                f"reads up to {SCHEMA_VERSION}: let a newer one resume it"
            )
        taken = json.loads(metadata["origin"])
        origin = Origin(**{field.name: taken[field.name] for field in fields(Origin)})
        # Cloned into memory of their own, aligned as the training's own tensors are: some
        # kernels round differently elsewhere.
        tensors = {k: t.clone() for k, t in safetensors.torch.load(content).items()}
        state = _with_tensors(json.loads(metadata["state"]), tensors)
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise DataLoss(
            f"{len(content)} bytes are no whole checkpoint: {type(error).__name__}: {error}"
        ) from error
    return origin, state


def _split(content: memoryview) -> tuple[dict[str, Any], memoryview]:
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    end = _LENGTH_BYTES + length
    return json.loads(bytes(content[_LENGTH_BYTES:end])), content[end:]


def _digest(header: Mapping[str, Any], body: memoryview) -> str:
    sha256 = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    sha256.update(body)
    return sha256.hexdigest()


def _without_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON; moves its tensors to `tensors`, and leaves their names behind."""
    match value:
        case Tensor():
            while path in tensors:  # "a" → "b.c" beside "a.b" → "c"
                path += "_"
            tensors[path] = value.detach().cpu().contiguous().clone()  # safetensors: none shared
            return {"tensor": path}
        case Mapping():
            below = f"{path}." if path else ""
            return {  # pairs, since an optimizer's keys are numbers
                "pairs": [
                    [key, _without_tensors(element, f"{below}{key}", tensors)]
                    for key, element in value.items()
                ]
            }
        case tuple():
            return {"tuple": _without_tensors(list(value), path, tensors)}
        case list():
            return [_without_tensors(e, f"{path}.{i}", tensors) for i, e in enumerate(value)]
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"a checkpoint cannot hold {path}: {type(value).__name__}")


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The value that `_without_tensors` was given."""
    match value:
        case {"tensor": name}:
            return tensors[name]
        case {"pairs": pairs}:
            return {key: _with_tensors(element, tensors) for key, element in pairs}
        case {"tuple": elements}:
            return tuple(_with_tensors(element, tensors) for element in elements)
        case list():
            return [_with_tensors(element, tensors) for element in value]
    return value
