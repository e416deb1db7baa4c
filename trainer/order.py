"""What a training process is asked to do. Knows no torch: an order is checked before it loads."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wintergarden.errors import InvalidArgument
from wintergarden.store import validate_model_name

DEFAULT_KIND = "train"


class Order(BaseModel):
    """What every order says: the first line a training process reads. Each kind adds its own.

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
    kind: str = DEFAULT_KIND
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


class TrainingOrder(Order):
    """To train a model.

    Attributes:
        architecture: to train.
        dataset: to train it on.
        hyperparameters: as the architecture allows.
        seed: of everything random.
        model: name to publish under; empty is `<architecture>-<dataset>`.
        device: auto is cuda where there is one.
        processes: ranks that share each batch.
        variants: of the served graph: fp16, int8.
        promote: conditions under which the version becomes `stable`.
        release_uri: the store to publish to; empty is `store_uri`.
        tensorboard_dir: under which the run's curves go; empty: there are none.
    """

    architecture: str
    dataset: str
    hyperparameters: dict[str, Any] = {}
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    model: str = ""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: Annotated[int, Field(ge=1)] = 1
    variants: list[str] = []
    promote: list[str] = []
    release_uri: str = ""
    tensorboard_dir: str = ""

    @property
    def model_name(self) -> str:
        return self.model or f"{self.architecture}-{self.dataset}"


def parse_training_order(text: bytes | str) -> TrainingOrder:
    """Reads an order to train.

    Raises:
        InvalidArgument: naming the field.
    """
    order = TrainingOrder.parse(text)
    validate_model_name(order.model_name)
    return order


def licence_of(text: bytes | str) -> float | None:
    """Until when an order that may be wrong in everything else may be worked on."""
    try:
        until = json.loads(text)["renewed_until"]
        return None if until is None else float(until)
    except (ValueError, TypeError, KeyError):
        return None


def kind_of(text: bytes | str) -> str:
    """The kind of an order that may be wrong in everything else."""
    try:
        kind = json.loads(text).get("kind", DEFAULT_KIND)
    except (ValueError, AttributeError) as error:
        raise InvalidArgument("the order is no JSON object") from error
    return str(kind)
