"""Texts as what a model takes: its own vocabulary makes them token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wintergarden.client.answers import Array
from wintergarden.client.call import Flow
from wintergarden.client.models import describe
from wintergarden.errors import InvalidTensor
from wintergarden.text import Vocabulary
from wintergarden.wire.tensors import dtype_of


def is_text(value: Any) -> bool:
    """Whether it is a text, or some of them."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "U" or (
            value.dtype == object and value.size > 0 and all(isinstance(t, str) for t in value.flat)
        )
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(text, str) for text in value)
    return isinstance(value, str)


def as_texts(value: Any) -> list[str]:
    """A list of them."""
    return [value] if isinstance(value, str) else [str(text) for text in np.ravel(value)]


def encoded(model: str, value: Any, *, version: int = 0) -> Flow[Array]:
    """Texts, as the model's only input takes them.

    Args:
        model: its name.
        value: one text, or several.
        version: 0 is the latest.

    Returns:
        Token ids (N, T) int64, 0 where a text has ended; of an input of BYTES the texts, (N,) or
        (N, 1).

    Raises:
        InvalidTensor: it takes no texts.
    """
    described = yield from describe(model, version=version)
    (found,) = encode_texts(as_texts(value), described.manifest, model).values()
    return found


def encode_texts(texts: Sequence[str], manifest: Mapping[str, Any], model: str) -> dict[str, Array]:
    """As `encoded`, by the name of the input, of a manifest that is there already."""
    inputs: Sequence[Mapping[str, Any]] = manifest["inputs"]
    if len(inputs) != 1:
        names = ", ".join(tensor["name"] for tensor in inputs)
        raise InvalidTensor(f"model {model!r} takes {names}; give arrays by name")
    (wanted,) = inputs
    if wanted["datatype"] == "BYTES":
        shape = (len(texts), *(1 for _ in wanted["shape"][1:]))
        return {wanted["name"]: np.array([text.encode() for text in texts], object).reshape(shape)}
    if not manifest.get("vocabulary"):
        raise InvalidTensor(
            f"input {wanted['name']!r} of model {model!r} takes {wanted['datatype']} and the model "
            "has no vocabulary; got texts"
        )
    vocabulary = Vocabulary.from_fields(manifest["vocabulary"])
    return {wanted["name"]: vocabulary.encode(texts).astype(dtype_of(wanted["datatype"], ""))}
