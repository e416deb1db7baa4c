"""Reference examples that travel with a model: explanations and attacks need no data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wintergarden.errors import DataLoss, InvalidArgument, WintergardenError
from wintergarden.store.arrays import Array, pack, unpack

MAX_EXAMPLES = 1000
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Reference:
    """Held-out examples and a background sample.

    Attributes:
        inputs: by input name, (N, …); N ≤ 1000.
        labels: (N,), or None where the task has none.
        background: (M, …) for the first input, a sample of the training data.
    """

    inputs: dict[str, Array]
    labels: Array | None
    background: Array


def write_reference(inputs: Mapping[str, Array], labels: Array | None, background: Array) -> bytes:
    """The content of `reference.npz`.

    Raises:
        InvalidArgument: more than 1000 examples or 64 MiB, or lengths that differ.
    """
    _check(inputs, labels, background, InvalidArgument)
    arrays = {f"inputs/{name}": array for name, array in inputs.items()}
    arrays["background"] = background
    if labels is not None:
        arrays["labels"] = labels
    return pack(arrays)


def read_reference(source: Path | bytes) -> Reference:
    """Reads `reference.npz`.

    Raises:
        DataLoss: it is none, or beyond the limits.
    """
    arrays = unpack(source, 2 * MAX_BYTES)
    inputs = {k.removeprefix("inputs/"): a for k, a in arrays.items() if k.startswith("inputs/")}
    if "background" not in arrays:
        raise DataLoss("reference.npz has no background")
    _check(inputs, arrays.get("labels"), arrays["background"], DataLoss)
    return Reference(inputs, arrays.get("labels"), arrays["background"])


def _check(
    inputs: Mapping[str, Array],
    labels: Array | None,
    background: Array,
    error: type[WintergardenError],
) -> None:
    arrays = [*inputs.values(), *([] if labels is None else [labels])]
    if not inputs or any(array.ndim == 0 for array in (*arrays, background)):
        raise error("reference examples need an input, and a first axis that counts them")
    lengths = {len(array) for array in arrays}
    if len(lengths) > 1:
        raise error(f"reference inputs and labels have different lengths: {sorted(lengths)}")
    if max(len(background), *lengths) > MAX_EXAMPLES:
        raise error(
            f"{max(len(background), *lengths)} reference examples; at most {MAX_EXAMPLES} are "
            "allowed"
        )
    size = sum(array.nbytes for array in (*arrays, background))
    if size > MAX_BYTES:
        raise error(f"reference examples take {size} bytes; at most {MAX_BYTES} are allowed")
