"""What a preparing process is asked to do."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from wintergarden.store.dataset_uploads import validate_digest
from wintergarden.store.datasets import validate_dataset_name
from wintergarden.store.preparation import (
    Format,
    PreparationOptions,
    check_format,
    make_options,
)
from wintergarden.worker.order import Order

MEMORY_MB = 4096
SECONDS = 3600.0


class PreparationOrder(Order):
    """To make a data set of an upload.

    Attributes:
        name: that the data set gets.
        upload: sha256 of the uploaded file.
        format: of that file.
        options: of the preparation; see `PreparationOptions`.
        memory_mb: mebibytes that reading the file may take; 0 is no limit.
        processor_s: seconds of processor time that it may take; 0 is no limit.
    """

    kind: str = "prepare"
    name: str
    upload: str
    format: str
    options: dict[str, Any] = Field(default_factory=dict)
    memory_mb: Annotated[int, Field(ge=0)] = MEMORY_MB
    processor_s: Annotated[float, Field(ge=0)] = SECONDS

    @property
    def file_format(self) -> Format:
        return check_format(self.format)

    @property
    def wishes(self) -> PreparationOptions:
        return make_options(self.options)


def parse_preparation_order(text: bytes | str) -> PreparationOrder:
    """Reads an order to prepare.

    Raises:
        InvalidArgument: naming the field.
    """
    order = PreparationOrder.parse(text)
    validate_dataset_name(order.name)
    validate_digest(order.upload)
    check_format(order.format)
    make_options(order.options)
    return order
