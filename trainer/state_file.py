"""A tree of tensors and plain values as one safetensors file, and back.

The file's tensors are named by their place in the tree ("optimizer.state.0.exp_avg"); the rest of
the tree is JSON in its metadata, beside a sha256 of everything. Nothing is ever unpickled: a store
that others can write to cannot make a trainer run their code.

https://huggingface.co/docs/safetensors: 8 bytes of header length, a JSON header, the tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from wintergarden.errors import DataLoss

_LENGTH_BYTES, _ALIGNMENT = 8, 8


def pack(state: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    """A file of a state.

    Args:
        state: tensors, numbers, texts, lists, tuples and mappings with keys that are texts or
            numbers.
        metadata: texts to go with it; not "state", not "sha256".

    Raises:
        TypeError: there is something else in the state.
    """
    tensors: dict[str, Tensor] = {}
    plain = _without_tensors(state, "", tensors)
    texts = {**(metadata or {}), "state": json.dumps(plain)}
    header, body = _split(memoryview(safetensors.torch.save(tensors, texts)))
    header["__metadata__"]["sha256"] = _digest(header, body)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join((len(text).to_bytes(_LENGTH_BYTES, "little"), text, body))


def unpack(content: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """The metadata and the state of a file; tensors are on the CPU.

    Raises:
        DataLoss: it is truncated, corrupt or no such file.
    """
    try:
        header, body = _split(memoryview(content))
        metadata = header["__metadata__"]
        claimed = metadata.pop("sha256")
        if claimed != _digest(header, body):
            raise DataLoss(f"the {len(content)} bytes of the file are corrupt: wrong sha256")
        # Cloned into memory of their own, aligned as the training's own tensors are: some
        # kernels round differently elsewhere.
        tensors = {k: t.clone() for k, t in safetensors.torch.load(content).items()}
        state = _with_tensors(json.loads(metadata.pop("state")), tensors)
    except (ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        raise DataLoss(
            f"{len(content)} bytes are no whole state file: {type(error).__name__}: {error}"
        ) from error
    return metadata, state


def _split(content: memoryview) -> tuple[dict[str, Any], memoryview]:
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
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
            tensors[path] = value.detach().cpu().contiguous().clone()  # the format shares nothing
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
    raise TypeError(f"a state file cannot hold {path}: {type(value).__name__}")


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
