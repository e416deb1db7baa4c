"""What explanations and attacks have in common on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wintergarden.wire import tensor_pb2, tensors

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ModelIdentity:
    """Which model answered; `digest` is the sha256 of the served model.onnx."""

    name: str
    version: int
    digest: str


@dataclass(frozen=True)
class Picture:
    """A picture to look at; `name` is a file name without directory."""

    name: str
    media_type: str
    content: bytes

    def save(self, path: Path | str) -> Path:
        """Write the picture to a file, or under its own name into a directory; returns the file."""
        target = Path(path)
        if target.is_dir():
            # The name comes from the network: only its last part may name a file here.
            target /= Path(self.name).name or "picture.png"
        target.write_bytes(self.content)
        return target


def as_tensor(value: npt.ArrayLike) -> tensor_pb2.Tensor:
    return tensors.to_message("", np.asarray(value))


def as_array(tensor: tensor_pb2.Tensor) -> Array:
    return tensors.from_message(tensor) if tensor.datatype else np.empty(0)


def identity(response: Any) -> ModelIdentity:
    return identity_of(response.model)


def identity_of(message: Any) -> ModelIdentity:
    return ModelIdentity(message.name, message.version, message.digest)


def pictures(response: Any) -> tuple[Picture, ...]:
    return tuple(Picture(p.name, p.media_type, p.content) for p in response.pictures)
