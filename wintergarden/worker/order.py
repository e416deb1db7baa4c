"""What a job's process is asked to do."""

from __future__ import annotations

import json
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wintergarden.errors import InvalidArgument


class Order(BaseModel):
    """What every order says: the first line a job's process reads. Each kind adds its own.

    Attributes:
        store_uri: the model store.
        kind: of the job.
        job_id: for the lineage of what is published, and whose files are the job's.
        fence: of the attempt.
        work_dir: a directory of the attempt's own.
        renewed_until: when the licence to work ends, in Unix seconds; None is never.
        checkpoint: where to go on, below the store's `jobs/<job id>/`; empty: at the beginning.
        checkpoint_interval_s: between two checkpoints, at least.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    store_uri: str
    kind: str = ""
    job_id: str = ""
    fence: Annotated[int, Field(ge=0)] = 0
    work_dir: str = ""
    renewed_until: float | None = None
    checkpoint: str = ""
    checkpoint_interval_s: Annotated[float, Field(ge=0)] = 60.0

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """Reads an order of this class.

        Raises:
            InvalidArgument: naming the field.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in problem["loc"])
            got = "" if problem["type"] == "missing" else f", got {problem['input']!r:.80}"
            message = (
                f"order {field}: {problem['msg']}{got}" if field else "the order is no JSON object"
            )
            raise InvalidArgument(message, field=field) from error


def licence_of(text: bytes | str) -> float | None:
    """Until when an order that may be wrong in everything else may be worked on."""
    try:
        until = json.loads(text)["renewed_until"]
        return None if until is None else float(until)
    except (ValueError, TypeError, KeyError):
        return None


def kind_of(text: bytes | str, default: str = "") -> str:
    """The kind of an order that may be wrong in everything else."""
    try:
        kind = json.loads(text).get("kind", default)
    except (ValueError, AttributeError) as error:
        raise InvalidArgument("the order is no JSON object") from error
    return str(kind)
