"""What a job's process tells its supervisor: one JSON object a line on its standard output.

The other way, on its standard input: the order (one line), then {"renewed_until": unix_s},
{"checkpoint_kept": true|false}, {"publish": true|false} and {"cancel": true}, which asks for an
end after a last checkpoint; the end of the input means that nobody waits for the result any more.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Progress(_Message):
    type: Literal["progress"]
    phase: str = Field(max_length=64)
    fraction: float = Field(ge=0, le=1)
    step: int = Field(default=0, ge=0)


class Metrics(_Message):
    type: Literal["metrics"]
    step: int = Field(ge=0)
    values: dict[str, float] = Field(max_length=256)


class Log(_Message):
    type: Literal["log"]
    level: str = Field(default="info", max_length=16)
    text: str


class Picture(_Message):
    """A picture is written: below `jobs/<job id>/`."""

    type: Literal["picture"]
    name: str = Field(min_length=1, max_length=256)
    caption: str = Field(default="", max_length=256)
    step: int = Field(default=0, ge=0)


class Checkpoint(_Message):
    """A checkpoint is written: may the job's record name it? It is below `jobs/<job id>/`."""

    type: Literal["checkpoint"]
    name: str = Field(min_length=1, max_length=256)
    step: int = Field(ge=0)


class PublishRequest(_Message):
    """May a version be made visible? `version` is the number claimed, where known."""

    type: Literal["publish?"]
    version: int = Field(default=0, ge=0)


class Result(_Message):
    """What was published; version 0 where it is no model."""

    type: Literal["result"]
    model: str
    version: int = Field(default=0, ge=0)
    metrics: dict[str, float] = {}


class Error(_Message):
    """`invalid` and `failed` would end the same way again; other kinds are tried again.

    Those are `unavailable` (a store that does not answer, or is full), `memory` (there was not
    enough) and `cancelled` (it was asked to stop, and did).
    """

    type: Literal["error"]
    reason: str
    kind: str = "failed"


Message = Progress | Metrics | Log | Picture | Checkpoint | PublishRequest | Result | Error

_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def parse(line: bytes) -> Message:
    """The message of a line; what is none (a library that prints) becomes a log line."""
    try:
        return _MESSAGE.validate_json(line)
    except ValidationError:
        return Log(type="log", level="debug", text=line.decode(errors="replace").rstrip())
