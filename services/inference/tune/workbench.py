"""Serves a model of a source in one way after the other, with the service's own loader."""

from __future__ import annotations

from collections.abc import Sequence

from services.inference.configuration.support import is_ensemble
from services.inference.loading import warmup
from services.inference.loading.loader import Loader, LoaderOptions
from services.inference.loading.variants import Device
from services.inference.repository.repository import Model
from services.inference.scheduling.scheduler import Array
from services.inference.sources import Source
from services.inference.tune.candidate import Candidate
from services.inference.tune.load import Measurement, measure
from wintergarden.errors import NotFound, Unsupported
from wintergarden.store import golden
from wintergarden.wire.model_config_pb2 import ModelConfig


class Workbench:
    """A version of a model, to be served in many ways.

    Attributes:
        base: its configuration as it is; empty where it has none.
        version: of the model.
        is_rowwise: requests may share a run.
        max_batch_size: as it is served now.
    """

    def __init__(
        self, source: Source, name: str, version: int, *, device: Device, rows: int
    ) -> None:
        """Load the model as it is served now.

        Args:
            source: of the model.
            name: of the model.
            version: 0: the latest.
            device: where it runs.
            rows: of every request.

        Raises:
            NotFound: no such model or version.
            Unsupported: a model that cannot be measured alone.
            WintergardenError: it cannot be loaded.
        """
        versions = source.look()[name].versions if name in source.look() else {}
        if not versions:
            raise NotFound(f"no model {name!r:.200} in {source.uri}")
        self.version = version or max(versions)
        self.base: ModelConfig = source.configuration(name)
        self._files = source.files(name, self.version)
        manifest = self._files.manifest
        states = manifest.states if manifest is not None else ()
        is_open = self.base.WhichOneof("scheduling_choice") is None
        for kind, is_kind in (
            ("an ensemble", is_ensemble(self.base)),
            (
                "a model of sequences",
                self.base.HasField("sequence_batching") or (is_open and states),
            ),
        ):
            if is_kind:
                raise Unsupported(
                    f"model {name!r} is {kind}; tune measures models that answer request by "
                    "request: for an ensemble, those it is composed of"
                )
        self._name = name
        self._rows = rows
        self._loader = Loader(LoaderOptions(device=device), _nowhere)
        model = self._load(None)
        self.is_rowwise = model.signature.is_rowwise
        self.max_batch_size = model.configuration.max_batch_size
        model.close()
        self._feeds = self._example(model)

    def measure(
        self, candidate: Candidate | None, *, concurrency: int, seconds: float
    ) -> Measurement:
        """Serve the model for a time, in one way, or as it is served now."""
        model = self._load(candidate)
        try:
            return measure(
                model.scheduler,
                model.signature,
                self._feeds,
                concurrency=concurrency,
                seconds=seconds,
            )
        finally:
            model.close()

    def _load(self, candidate: Candidate | None) -> Model:
        config = self.base if candidate is None else candidate.configure(self.base)
        return self._loader.load(self._name, self.version, self._files, config)

    def _example(self, model: Model) -> Sequence[Array]:
        """Of one request: a recorded one where there is any, else a made-up one."""
        inputs = model.signature.inputs
        recorded = self._files.golden()
        row = warmup.example(inputs)
        if recorded is not None:
            row = warmup.first_row(inputs, golden.read_golden(recorded).inputs)
        feeds = [row[spec.name] for spec in inputs]
        return [feed.repeat(self._rows, axis=0) for feed in feeds] if self.is_rowwise else feeds


def _nowhere(
    name: str, version: str = "", sequence: object = None, *, is_start: bool = False
) -> Model:
    raise NotFound(f"model {name!r}: tune serves one model alone")
