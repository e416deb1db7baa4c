"""A graph that is open and understood, on its way to be served: warming it up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from services.inference.configuration import Tensors
from services.inference.loading import warmup
from services.inference.loading.opening import Opened
from services.inference.loading.samples import samples
from services.inference.loading.view import view_of
from services.inference.signature import Signature
from services.inference.sources.source import VersionFiles
from wintergarden.errors import InvalidArgument, InvalidTensor
from wintergarden.runtime import TensorSpec
from wintergarden.wire.model_config_pb2 import ModelConfig

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What is known about a version before it is served.

    Attributes:
        config: all of it.
        opened: the graph.
        tensors: what clients see of it.
        signature: what requests are held to.
        files: of the version.
    """

    config: ModelConfig
    opened: Opened
    tensors: Tensors
    signature: Signature
    files: VersionFiles


def warm_up(prepared: Prepared) -> dict[int, float]:
    """Run the samples that the configuration names, and then every size of run.

    Returns:
        Seconds of a run by its rows; empty where made-up examples do not suit the model.

    Raises:
        InvalidArgument: a sample does not fit the model, or fails.
    """
    _run_samples(prepared)
    opened, config = prepared.opened, prepared.config
    max_rows = config.max_batch_size if prepared.signature.is_rowwise else 0
    preferred = config.dynamic_batching.preferred_batch_size
    try:
        return warmup.run_times(
            opened.session.run,
            opened.row,
            max_rows,
            preferred,
            warms_all=opened.session.device != "cpu",
        )
    except InvalidTensor as error:
        # Made-up examples do not suit every imported model; real requests may.
        if opened.is_recorded:
            raise
        _log.warning("could not warm up", model=prepared.signature.label, reason=str(error))
        return {}


def _run_samples(prepared: Prepared) -> None:
    session, tensors = prepared.opened.session, prepared.tensors
    outputs = names(session.outputs)
    view = view_of(session, tensors, outputs, outputs)
    seen = set(names(tensors.inputs))
    hidden = {name: array for name, array in prepared.opened.row.items() if name not in seen}
    for sample, feeds, count in samples(prepared.config, tensors.inputs, prepared.files.read):
        try:
            for _ in range(count):
                view.run({**hidden, **feeds})
        except InvalidTensor as error:
            raise InvalidArgument(
                f"{prepared.signature.label}: model_warmup {sample!r:.80} failed: {error}"
            ) from error


def names(specs: Sequence[TensorSpec]) -> tuple[str, ...]:
    return tuple(spec.name for spec in specs)
