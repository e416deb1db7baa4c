"""Finds the weights that a training wants to begin with: of the store, or uploaded.

    lenet5-mnist-5k  lenet5-mnist-5k:3  lenet5-mnist-5k:stable    a version of a model of the store
    sha256:0f3c…                                                  an uploaded state dict

Nothing is ever unpickled but by torch's own reader of tensors alone (`weights_only`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from trainer.recipes.transfer import Source
from wintergarden.errors import FailedPrecondition, InvalidArgument, NotFound
from wintergarden.store import ModelStore
from wintergarden.store.datasets import DatasetStore
from wintergarden.store.manifest import VocabularyInfo
from wintergarden.store.names import WEIGHTS, parse_version, validate_model_name
from wintergarden.text import Vocabulary

_DIGEST = "sha256:"
_FIELD = "hyperparameters.init_from"
# What trainers' own scripts put a state dict into.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def find_source(reference: str, models: ModelStore, datasets: DatasetStore) -> Source:
    """The weights of that name.

    Raises:
        NotFound: there is no such model, version, label or upload.
        InvalidArgument: what was uploaded is no state dict.
        FailedPrecondition: the model was published without weights.
    """
    if reference.startswith(_DIGEST):
        digest = reference.removeprefix(_DIGEST)
        path = datasets.uploads.fetch(digest)
        return Source(f"{reference[:19]}…", reference, read_state_dict(path))
    model, _, which = reference.partition(":")
    version = _version(validate_model_name(model), which, models)
    artefact = models.fetch(model, version)
    if WEIGHTS not in artefact.manifest.files:
        raise FailedPrecondition(
            f"{model}:{version} has no {WEIGHTS}: it was imported, and only what was trained here "
            "can be trained on; upload its state dict and begin with that"
        )
    digest = artefact.manifest.files[WEIGHTS].sha256
    lineage = f"{model}:{version} {_DIGEST}{digest}"
    return Source(
        f"{model}:{version}",
        lineage,
        read_state_dict(artefact.path(WEIGHTS)),
        _vocabulary(artefact.manifest.vocabulary),
        _vocabulary(artefact.manifest.target_vocabulary),
    )


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A state dict from a file of safetensors, or of `torch.save`; on the CPU.

    Raises:
        InvalidArgument: it is neither, or holds something else.
    """
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, ValueError):
        pass
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:  # torch raises what its readers raise: several kinds
        why = str(error).split("\n", 1)[0]
        raise InvalidArgument(
            f"{path.name} is no state dict: neither safetensors nor a file of torch.save with "
            f"nothing but tensors ({why:.200})",
            field=_FIELD,
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    return _checked(content, path.name)


def _checked(content: Any, name: str) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
        if tensors and len(tensors) == len(content) and all(isinstance(k, str) for k in tensors):
            return tensors
    raise InvalidArgument(
        f"{name} is no state dict: expected tensors by name, got {type(content).__name__}",
        field=_FIELD,
    )


def _vocabulary(fields: VocabularyInfo | None) -> Vocabulary | None:
    return None if fields is None else Vocabulary.from_fields(fields.model_dump())


def _version(model: str, which: str, models: ModelStore) -> int:
    if not which:
        return models.latest_version(model)
    version = parse_version(which)
    if version is not None:
        return version
    try:
        return models.labels(model).labels[which]
    except KeyError:
        raise NotFound(f"model {model!r} has no version and no label {which!r:.80}") from None
