"""What a version says about itself; the contract between the rooms.

A change of format bumps `SCHEMA_VERSION` and needs a migration; a new field with a default
does not.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from wintergarden.errors import DataLoss, InvalidArgument, Unsupported, WintergardenError
from wintergarden.store.names import GOLDEN, MANIFEST, MODEL, is_file_name, validate_model_name

SCHEMA_VERSION = 1
MAX_MANIFEST_BYTES = 8 * 2**20

Datatype = Literal[
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
    "FP16", "BF16", "FP32", "FP64", "BYTES",
]  # fmt: skip


class _Frozen(BaseModel):
    # A release reads what later ones of the same schema version add.
    model_config = ConfigDict(frozen=True, extra="ignore")


class TensorInfo(_Frozen):
    """An input or output of the graph; -1 in the shape is a dimension of any size."""

    name: str
    datatype: Datatype
    shape: tuple[Annotated[int, Field(ge=-1)], ...]
    meaning: str = ""
    units: str = ""
    value_range: tuple[FiniteFloat, FiniteFloat] | None = None

    @field_validator("value_range")
    @classmethod
    def _ascends(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError(f"the lower end {value[0]} must be below the upper end {value[1]}")
        return value


class VocabularyInfo(_Frozen):
    """How texts become the token ids of the input; `wintergarden.text` does it."""

    level: Literal["character", "word", "byte-pair"]
    tokens: tuple[str, ...]
    max_tokens: Annotated[int, Field(ge=1)]
    is_marked: bool = False
    is_verbatim: bool = False
    merges: tuple[str, ...] = ()


class StateInfo(_Frozen):
    """What one step of a sequence leaves to the next: an output that comes back as an input.

    Attributes:
        shape: of one row; the tensors have the batch in front of it. A sequence's first step is
            given zeros.
    """

    input: str
    output: str
    datatype: Datatype
    shape: tuple[Annotated[int, Field(ge=1)], ...]


class GenerationInfo(_Frozen):
    """How a step graph writes: it is given a token and says how likely each next one is.

    Attributes:
        token: the input, INT64 [N, 1].
        logits: the output, [N, V].
        begin: the id a text is begun with, before its first own token.
        end: the id after which nothing comes.
        max_context: how many tokens the states hold, the oldest of which they then forget; None
            where there is no such limit.
    """

    token: str = "token"
    logits: str = "logits"
    begin: Annotated[int, Field(ge=0)] | None = None
    end: Annotated[int, Field(ge=0)] | None = None
    max_context: Annotated[int, Field(ge=1)] | None = None


class FileInfo(_Frozen):
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Lineage(_Frozen):
    """Where a version comes from, as far as one knows.

    Attributes:
        environment: what else its weights depend on, such as the versions of libraries.
    """

    job_id: str | None = None
    code_version: str | None = None
    dataset: str | None = None
    dataset_digest: str | None = None
    seed: int | None = None
    parent: str | None = None
    environment: dict[str, str] = {}


class Promotion(_Frozen):
    """The rule by which the version becomes `stable`; see `store.promotion`.

    Attributes:
        conditions: such as `test_accuracy>=0.97`, all of which must hold.
        revision: of the labels, just before the version was published.
        stable: what they called stable then.
    """

    conditions: tuple[str, ...] = ()
    revision: Annotated[int, Field(ge=0)] = 0
    stable: Annotated[int, Field(ge=1)] | None = None


class ManifestFields(_Frozen):
    """What the publisher says; the store adds the rest.

    Attributes:
        family: ties the graphs of one network, such as an encoder and its decoder.
        preprocessing: in words, what the graph does to its inputs before the network sees them.
        class_labels: in the order of the last axis of the outputs.
        vocabulary: of a model whose input is token ids.
        target_vocabulary: of a model whose output is token ids, where they are others than those
            of `vocabulary`.
        states: of a graph that runs one step of a sequence; it is served with a `sequence_id`.
        generation: of a step graph that writes texts, which are then streamed.
        tolerances: per precision, the largest absolute difference from the golden outputs.
        parity: per precision and output, the largest difference from the network that was found
            before publishing, relative to the largest output where that exceeds 1.
        promotion: None leaves the labels alone.
    """

    architecture: str
    task: Literal[
        "image-classification",
        "tabular-classification",
        "text-classification",
        "regression",
        "segmentation",
        "filtering",
        "sequence-to-sequence",
        "language-modelling",
        "tagging",
        "captioning",
        "unknown",
    ]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    family: str | None = None
    hyperparameters: dict[str, JsonValue] = {}
    preprocessing: str = ""
    class_labels: tuple[str, ...] = ()
    vocabulary: VocabularyInfo | None = None
    target_vocabulary: VocabularyInfo | None = None
    states: tuple[StateInfo, ...] = ()
    generation: GenerationInfo | None = None
    metrics: dict[str, FiniteFloat] = {}
    tolerances: dict[str, FiniteFloat] = {"fp32": 1e-4}
    parity: dict[str, dict[str, FiniteFloat]] = {}
    promotion: Promotion | None = None
    lineage: Lineage = Lineage()


class Manifest(ManifestFields):
    """A published version."""

    model: str
    version: Annotated[int, Field(ge=1)]
    created_at: datetime
    files: dict[str, FileInfo]
    schema_version: Literal[1] = 1

    @field_validator("model")
    @classmethod
    def _is_model_name(cls, name: str) -> str:
        try:
            return validate_model_name(name)
        except WintergardenError as error:
            raise ValueError(error.message) from error

    @field_validator("files")
    @classmethod
    def _are_file_names(cls, files: dict[str, FileInfo]) -> dict[str, FileInfo]:
        for name in files:
            if not is_file_name(name):
                raise ValueError(f"{name!r} is no name of a file of a version")
        return files

    @model_validator(mode="after")
    def _is_whole(self) -> Manifest:
        if MODEL not in self.files:
            raise ValueError(f"a version needs {MODEL}")
        if GOLDEN in self.files and "fp32" not in self.tolerances:
            raise ValueError(f"a version with {GOLDEN} needs tolerances['fp32']")
        return self

    @property
    def digest(self) -> str:
        """The sha256 of what is served, in hexadecimal."""
        return self.files[MODEL].sha256

    @property
    def is_verified(self) -> bool:
        """Whether it came with golden outputs, which are replayed before it is served."""
        return GOLDEN in self.files

    def to_json(self) -> bytes:
        """The same bytes for the same manifest."""
        content = self.model_dump(mode="json")
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def complete(fields: ManifestFields, **rest: Any) -> Manifest:
    """The manifest of a version about to be published.

    Raises:
        InvalidArgument: naming the field.
    """
    try:
        return Manifest(
            **{name: getattr(fields, name) for name in type(fields).model_fields}, **rest
        )
    except ValidationError as error:
        raise InvalidArgument(f"the manifest is not valid: {_first(error)}") from error


def parse(content: bytes, model: str, version: int) -> Manifest:
    """Reads the manifest of a version.

    Raises:
        DataLoss: it cannot be read or is another version's.
        Unsupported: a later release wrote it.
    """
    where = f"{MANIFEST} of {model}/{version}"
    try:
        document = json.loads(content)
        schema_version = document["schema_version"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataLoss(f"{where} is not a manifest: {type(error).__name__} {error}") from error
    if isinstance(schema_version, int) and schema_version > SCHEMA_VERSION:
        raise Unsupported(
            f"{where} has schema version {schema_version}, this release reads {SCHEMA_VERSION}; "
            "upgrade wintergarden"
        )
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        raise DataLoss(f"{where} is not valid: {_first(error)}") from error
    if (manifest.model, manifest.version) != (model, version):
        raise DataLoss(f"{where} describes {manifest.model}/{manifest.version}")
    return manifest


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
