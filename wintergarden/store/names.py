"""Names that become paths: of models, of versions, of the files of a version."""

from __future__ import annotations

import re

from wintergarden.errors import InvalidArgument

MANIFEST = "manifest.json"
CLAIM = "claim.json"
MODEL = "model.onnx"
# The same graph in lower precision, beside it, by precision.
VARIANTS = {"fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}
GOLDEN = "golden.npz"
REFERENCE = "reference.npz"
WEIGHTS = "weights.safetensors"
CARD = "card/README.md"
CONFIGURATION = "config.pbtxt"

# Graphs of one network are siblings, each a model of its own whose name ends so.
FORCED = ".forced"  # is told what was written, and says how likely each token was
STEP = ".step"  # reads one token and says what follows
SIBLINGS = (FORCED, STEP)

# No name starts with a dot and none contains a slash: `..` and absolute paths cannot be written.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MAX_DEPTH = 4


def validate_model_name(name: str) -> str:
    """Returns the name.

    Raises:
        InvalidArgument: it is no name of a model.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"model name {name!r:.140} is not allowed: up to 128 letters, digits and . _ - , the "
            "first a letter, a digit or _",
            field="model",
        )
    return name


def is_file_name(name: str) -> bool:
    """Whether a version may have a file of that name, such as `model.onnx` or `card/README.md`."""
    parts = name.split("/")
    return (
        len(parts) <= _MAX_DEPTH
        and all(_NAME.fullmatch(part) for part in parts)
        and name not in (MANIFEST, CLAIM)
    )


def parse_version(name: str) -> int | None:
    """The version that a folder is for; None for `01`, `x` and whatever else may lie around."""
    is_plain = name.isascii() and name.isdigit() and len(name) < 16 and not name.startswith("0")
    return int(name) if is_plain else None


def version_key(model: str, version: int) -> str:
    return f"models/{validate_model_name(model)}/{version}"
