"""Turns a published version into a model that may be served, or says why it may not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import structlog

from services.inference import configuration
from services.inference.configuration import Completion
from services.inference.configuration.states import add_states
from services.inference.configuration.support import ENSEMBLE, is_ensemble
from services.inference.configuration.tensors import NOTHING_HIDDEN
from services.inference.ensembles.ensemble import Ensemble, Resolve
from services.inference.ensembles.plan import EnsemblePlan
from services.inference.loading import variants
from services.inference.loading.generators import make_generator
from services.inference.loading.opening import Opened, open_version
from services.inference.loading.planning import Measured, make_plan
from services.inference.loading.preparation import Prepared, warm_up
from services.inference.loading.schedulers import make_scheduler
from services.inference.repository.repository import Model
from services.inference.scheduling.priorities import at_low_priority
from services.inference.scheduling.server_wide import ServerWide
from services.inference.sequences.plan import own_tensors
from services.inference.signature import Signature
from services.inference.sources.source import VersionFiles
from wintergarden.errors import InvalidArgument
from wintergarden.runtime import TensorSpec, available_threads
from wintergarden.wire.model_config_pb2 import ModelConfig

_WHOLE = frozenset({f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)})

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class LoaderOptions:
    """How models are run that do not say so themselves.

    Attributes:
        device: for the sessions.
        intra_op_threads: of a session; 0: one where runs are short, else all there are.
        max_batch_rows: rows of one run, at most.
        max_waiting: requests that may wait for a model version.
        instances: runs of a model version that may go on at once.
        inline_run_s: a model whose run of one row takes less runs on the thread that brings
            the requests; a hop to another thread would cost as much.
        processes: of this server, which share the machine's threads.
    """

    device: variants.Device = "auto"
    intra_op_threads: int = 0
    max_batch_rows: int = 64
    max_waiting: int = 1024
    instances: int = 1
    inline_run_s: float = 0.001
    processes: int = 1


class Loader:
    """Verify, open, replay the golden examples, warm up; requests never wait for it."""

    def __init__(
        self,
        options: LoaderOptions,
        resolve: Resolve,
        server: ServerWide | None = None,
    ) -> None:
        """A loader.

        Args:
            options: for models that do not say it themselves.
            resolve: finds the models that an ensemble is composed of, whenever it runs.
            server: what the models share.
        """
        self._options = options
        self._resolve = resolve
        self._server = server or ServerWide()

    def load(self, name: str, version: int, files: VersionFiles, config: ModelConfig) -> Model:
        """A model that is ready to answer.

        Args:
            name: of the model.
            version: its number.
            files: of the version.
            config: how it is to be served; what it leaves out is found out.

        Raises:
            DataLoss: a file is not what its manifest says, or answers are not the golden ones.
            FailedPrecondition: it wants a GPU, or a resource, that this server has not.
            InvalidArgument: ONNX Runtime cannot load it, or the configuration does not fit it.
            NotFound: the version or a file has gone.
            Unsupported: the configuration asks for what is not served here.
        """
        started = perf_counter()
        full = ModelConfig()
        full.CopyFrom(config)
        full.name = name
        if files.manifest is not None and files.manifest.states:
            add_states(full, files.manifest.states)
        configuration.check_supported(full)
        for field in configuration.without_effect(full):
            _log.info("configuration without effect", model=name, field=field)
        try:
            if is_ensemble(full):
                return self._compose(version, files, full, started)
            return self._load_graph(version, files, full, started)
        finally:
            files.close()

    def _compose(
        self, version: int, files: VersionFiles, config: ModelConfig, started: float
    ) -> Model:
        plan = EnsemblePlan.of(config)
        scheduler: Ensemble[Any] = Ensemble(plan, self._resolve)
        is_batched = config.max_batch_size > 0
        signature = Signature(
            config.name,
            str(version),
            plan.inputs,
            plan.outputs,
            is_batched,
            labels=_labels(config, plan.outputs, files),
        )
        config.platform = config.platform or ENSEMBLE
        seconds = perf_counter() - started
        _log.info("ensemble composed", model=config.name, version=version, steps=len(plan.steps))
        return Model(config.name, version, signature, scheduler, seconds, config)

    def _load_graph(
        self, version: int, files: VersionFiles, config: ModelConfig, started: float
    ) -> Model:
        options = self._options
        label = f"model {config.name!r} version {version}"
        most = max(1, available_threads() // options.processes)
        opened = open_version(files, config, options.device, options.intra_op_threads, most)
        max_rows = self._max_rows(config, opened, label)
        opened = opened.with_threads_for(options.inline_run_s, most)
        # Weights that a request may give are many, and of interest only where they are listed.
        listed = {tensor.name for tensor in config.input}
        weights = [spec for spec in opened.session.optional_inputs if spec.name in listed]
        tensors = configuration.bind(
            config,
            (*opened.session.inputs, *weights),
            opened.session.outputs,
            is_batched=config.max_batch_size > 0 or max_rows > 0,
            hidden=own_tensors(config) if config.HasField("sequence_batching") else NOTHING_HIDDEN,
        )
        found = Completion(
            tensors,
            max_batch_size=max_rows,
            device=opened.session.device,
            instances=variants.instances(config, options.instances),
            file_name=variants.file_name(config),
        )
        full = configuration.complete(config, found)
        signature = Signature(
            config.name,
            str(version),
            tensors.inputs,
            tensors.outputs,
            is_rowwise=max_rows > 0,
            labels=_labels(full, tensors.outputs, files),
            ranges=_ranges(tensors.inputs, files),
        )
        prepared = Prepared(full, opened, tensors, signature, files)
        times = at_low_priority(lambda: warm_up(prepared))
        plan = make_plan(
            full,
            Measured(
                tuple(spec.name for spec in opened.session.inputs),
                signature.is_rowwise,
                signature.has_fixed_cost,
                times,
                opened.session.device,
            ),
            max_rows=full.max_batch_size,
            threads=found.instances,
            max_waiting=options.max_waiting,
            inline_run_s=options.inline_run_s,
        )
        scheduler = make_scheduler(prepared, plan, self._server)
        generator = make_generator(prepared, plan, scheduler.statistics, version)
        seconds = perf_counter() - started
        _log.info(
            "model loaded",
            model=config.name,
            version=version,
            seconds=round(seconds, 3),
            device=plan.device,
            run_ms=round(1e3 * times.get(1, 0), 3),
            max_rows=plan.max_rows,
            inline_rows=plan.inline_rows,
            writes_texts=generator is not None,
        )
        return Model(config.name, version, signature, scheduler, seconds, full, generator)

    def _max_rows(self, config: ModelConfig, opened: Opened, label: str) -> int:
        """Rows of one run; 0: requests run alone."""
        if (config.input or config.output) and not config.max_batch_size:
            return 0  # dims are the graph's whole shapes: there is no batch dimension
        # Who asks for batches of so many rows has said that the rows are independent.
        is_claimed = bool(config.max_batch_size and config.WhichOneof("scheduling_choice"))
        matters = at_low_priority(lambda: opened.company_matters(compares_values=not is_claimed))
        if matters:
            _log.info("requests run alone", model=label, reason=matters)
            return 0
        return config.max_batch_size or self._options.max_batch_rows


def _ranges(inputs: Sequence[TensorSpec], files: VersionFiles) -> dict[str, tuple[int, int]]:
    """Of inputs of whole numbers, as the manifest tells them."""
    told = {} if files.manifest is None else {t.name: t.value_range for t in files.manifest.inputs}
    return {
        spec.name: (math.ceil(found[0]), math.floor(found[1]))
        for spec in inputs
        if spec.datatype in _WHOLE and (found := told.get(spec.name)) is not None
    }


def _labels(
    config: ModelConfig, outputs: Sequence[TensorSpec], files: VersionFiles
) -> dict[str, tuple[str, ...]]:
    """What the elements of an output are called: one name a line, or the manifest's."""
    labels = {}
    if files.manifest is not None and files.manifest.class_labels:
        labels = {spec.name: files.manifest.class_labels for spec in outputs}
    for tensor in config.output:
        if tensor.label_filename:
            try:
                text = files.read(tensor.label_filename).decode()
            except UnicodeDecodeError as error:
                raise InvalidArgument(f"{tensor.label_filename!r}: {error}") from error
            labels[tensor.name] = tuple(line.rstrip("\r") for line in text.splitlines())
    return labels
