"""What a stored data set says about itself: `dataset.json`, whose sha256 is the set's digest.

It says nothing of when or under which name, so that the same file prepared in the same way is the
same data set.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError

from wintergarden.errors import DataLoss, Unsupported
from wintergarden.store.manifest import FileInfo
from wintergarden.store.preparation import Format

SCHEMA_VERSION = 1
MAX_DATASET_JSON_BYTES = 32 * 2**20
PARTS = ("train", "validation", "test")

Task = Literal[
    "image-classification",
    "tabular-classification",
    "text-classification",
    "regression",
    "segmentation",
    "captioning",
    "sequence-to-sequence",
    "language-modelling",
]


class DatasetManifest(BaseModel):
    """A prepared data set.

    Attributes:
        task: what there is to learn.
        summary: one line, by whoever uploaded it.
        source: where the data come from.
        input_name: of the served graph's input.
        input_shape: of one example: (C, H, W) or (F,); () for a text.
        units: of the input's values.
        value_range: lowest and highest value there can be; None where there is none.
        class_labels: in the order of the class indices; of a regression, what its values are; of
            texts to be written, none.
        split_sizes: examples in train, validation and test.
        feature_names: of a table's columns, after categories became columns of 0 and 1.
        files: what lies beside this, by name.
        upload: the file it was made from.
        format: of that file.
        options: how it was made, defaults included.
        report: what was found in it.
    """

    # A release reads what later ones of the same schema version add.
    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    task: Task
    summary: str = ""
    source: str
    input_name: str
    input_shape: tuple[Annotated[int, Field(ge=1)], ...]
    units: str
    value_range: tuple[FiniteFloat, FiniteFloat] | None = None
    class_labels: tuple[str, ...]
    split_sizes: dict[str, Annotated[int, Field(ge=0)]]
    feature_names: tuple[str, ...] = ()
    files: dict[str, FileInfo]
    upload: FileInfo
    format: Format
    options: dict[str, JsonValue]
    report: dict[str, JsonValue]

    def to_json(self) -> bytes:
        """The content of `dataset.json`: the same bytes for the same data set."""
        content = self.model_dump(mode="json")
        return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True)
class StoredDataset:
    """A data set of the store.

    Attributes:
        name: it was found by; its digest as `sha256:…` where it was not found by name.
        digest: sha256 of its `dataset.json`, in hexadecimal.
        manifest: what it says about itself.
    """

    name: str
    digest: str
    manifest: DatasetManifest


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def parse_dataset(content: bytes, digest: str) -> DatasetManifest:
    """Reads `dataset.json`.

    Raises:
        DataLoss: it is not what the digest stands for, or not valid.
        Unsupported: a later release wrote it.
    """
    where = f"dataset.json of sha256:{digest}"
    if (got := digest_of(content)) != digest:
        raise DataLoss(f"{where} is corrupt: its sha256 is {got}")
    try:
        document = json.loads(content)
        schema_version = document["schema_version"]
    except (ValueError, TypeError, KeyError) as error:
        raise DataLoss(f"{where} cannot be read: {type(error).__name__} {error}") from error
    if isinstance(schema_version, int) and schema_version > SCHEMA_VERSION:
        raise Unsupported(
            f"{where} has schema version {schema_version}, this release reads {SCHEMA_VERSION}; "
            "upgrade wintergarden"
        )
    try:
        return DatasetManifest.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise DataLoss(f"{where} is not valid: {field}: {problem['msg']}") from error
