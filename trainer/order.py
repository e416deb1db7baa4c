"""What a training process is asked to do. Knows no torch: an order is checked before it loads."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from wintergarden.store import validate_model_name
from wintergarden.worker.order import Order

DEFAULT_KIND = "train"


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
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    model: str = ""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: Annotated[int, Field(ge=1)] = 1
    variants: list[str] = Field(default_factory=list)
    promote: list[str] = Field(default_factory=list)
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
