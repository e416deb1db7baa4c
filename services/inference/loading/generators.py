"""Makes the writer of texts that a step graph can be, as its manifest says."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.inference.generation import asking
from services.inference.generation.scheduler import Generator
from services.inference.generation.writer import Writer
from services.inference.loading.preparation import Prepared
from services.inference.repository.repository import Model
from services.inference.scheduling.plan import Plan
from services.inference.scheduling.statistics import Statistics
from services.inference.signature import Signature
from wintergarden.errors import InvalidArgument
from wintergarden.text import Vocabulary

# Of the states of all texts under way.
_STATE_BYTES = 2**30


def make_generator(
    prepared: Prepared, plan: Plan, statistics: Statistics, version: int
) -> Model | None:
    """The version as a writer of texts; None where it is no step graph of texts.

    Args:
        prepared: the version.
        plan: how it is run.
        statistics: of the version, which counts texts too.
        version: its number.

    Raises:
        InvalidArgument: the graph, or the vocabulary, is not what the manifest says.
    """
    manifest = prepared.files.manifest
    if manifest is None or manifest.generation is None:
        return None
    label, info = prepared.signature.label, manifest.generation
    if not plan.max_rows:
        raise InvalidArgument(
            f"{label}: the manifest has generation, but texts cannot share a step: the rows of "
            "the graph depend on one another, or their number is fixed"
        )
    session = prepared.opened.session
    states = [(state.input, state.output) for state in manifest.states]
    try:
        stepper = session.stepper(
            states, token=info.token, result=info.logits, max_rows=plan.max_rows
        )
    except InvalidArgument as error:
        raise InvalidArgument(f"{label}: manifest.generation: {error.message}") from error
    stepper.max_rows = max(1, min(plan.max_rows, _STATE_BYTES // (stepper.row_bytes or 1)))
    fields = manifest.target_vocabulary or manifest.vocabulary
    vocabulary = None if fields is None else Vocabulary.from_fields(fields.model_dump())
    writer = Writer.of(label, info, vocabulary, stepper.width)
    # A table with fewer rows than there are tokens fails here, and not in strangers' company.
    stepper.join()
    stepper.step(np.array([len(writer.contents) - 1]))
    stepper.release()
    scheduler: Generator[Any] = Generator(
        stepper, writer, statistics, max_waiting=plan.max_waiting, gives_way=plan.gives_way
    )
    name = prepared.config.name
    signature = Signature(name, str(version), asking.INPUTS, asking.OUTPUTS, is_rowwise=False)
    return Model(name, version, signature, scheduler, 0.0)
