"""What a training process is asked to do. Knows no torch: an order is checked before it loads."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wintergarden.errors import InvalidArgument
from wintergarden.store import validate_model_name


class Order(BaseModel):
    """The first line a training process reads.

    Attributes:
        job_id: for the lineage of what is published.
        model: name to publish under; empty is `<architecture>-<dataset>`.
        seed: of everything random.
        store_uri: the model store.
        work_dir: a directory of the attempt's own.
        renewed_until: when the licence to work ends, in Unix seconds; None is never.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    architecture: str
    dataset: str
    store_uri: str
    hyperparameters: dict[str, Any] = {}
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    model: str = ""
    job_id: str = ""
    work_dir: str = ""
    renewed_until: float | None = None

    @property
    def model_name(self) -> str:
        return self.model or f"{self.architecture}-{self.dataset}"


def parse_order(text: bytes | str) -> Order:
    """Reads an order.

    Raises:
        InvalidArgument: naming the field.
    """
    try:
        order = Order.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        got = "" if problem["type"] == "missing" else f", got {problem['input']!r:.80}"
        message = (
            f"order {field}: {problem['msg']}{got}" if field else "the order is no JSON object"
        )
        raise InvalidArgument(message, field=field) from error
    validate_model_name(order.model_name)
    return order
