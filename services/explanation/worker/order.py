"""What the process of an explanation job is asked to do."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wintergarden.worker.order import Order


class ExplainOrder(Order):
    """The job's specification and the worker's limits.

    Attributes:
        operation: what kind of work the request asks for.
        method: that does it.
        model: name of the explained model.
        version: of it.
        digest: of the version's graph, as it was when the job was submitted.
        request: sha256 of the job's file `request.pb`.
        examples: first and number of held-out examples; empty: the request has the rows.
        device: where the model runs.
        intra_op_threads: of one run of the model.
        cache_bytes: for sessions.
        max_result_bytes: of the arrays of the result.
    """

    operation: Literal["explain", "attack", "robustness"]
    method: str
    model: str
    version: Annotated[int, Field(ge=1)]
    digest: str
    request: str
    examples: list[int] = Field(default_factory=list, max_length=2)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    intra_op_threads: Annotated[int, Field(ge=1)] = 1
    cache_bytes: Annotated[int, Field(ge=0)] = 2**30
    max_result_bytes: Annotated[int, Field(ge=1)] = 2**28
