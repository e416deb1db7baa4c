"""Makes the scheduler that a configuration asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import structlog

from services.inference.loading.preparation import Prepared, names
from services.inference.loading.view import view_of
from services.inference.scheduling.caching import CachingScheduler
from services.inference.scheduling.engine import Engine
from services.inference.scheduling.plan import Plan
from services.inference.scheduling.scheduler import Scheduler
from services.inference.scheduling.server_wide import ServerWide
from services.inference.sequences.plan import SequencePlan
from services.inference.sequences.scheduler import SequenceScheduler

_INITIAL_STATE = "initial_state"

_log = structlog.get_logger(__name__)


def make_scheduler(prepared: Prepared, plan: Plan, server: ServerWide) -> Scheduler[Any]:
    """The scheduler of a version.

    Raises:
        FailedPrecondition: a run needs more of a resource than the server has.
        InvalidArgument: the configuration of its sequences does not fit the graph.
        Unsupported: its sequences ask for what is not served here.
    """
    if prepared.config.HasField("sequence_batching"):
        return _sequences(prepared, plan, server)
    session, tensors = prepared.opened.session, prepared.tensors
    view = view_of(session, tensors, names(session.outputs), names(tensors.outputs))
    # Requests bring what clients see, which may be less than the graph could take.
    plan = replace(plan, inputs=names(tensors.inputs))
    engine: Engine[Any] = Engine(view, plan, prepared.signature.label, server)
    if not (prepared.config.response_cache.enable and server.response_cache.max_bytes):
        return engine
    if plan.preserves_order:
        # A kept answer would overtake those that are still computed.
        _log.warning(
            "no answers are kept",
            model=prepared.signature.label,
            reason="response_cache cannot keep the order that preserve_ordering asks for",
        )
        return engine
    return CachingScheduler(engine, server.response_cache)


def _sequences(prepared: Prepared, plan: Plan, server: ServerWide) -> Scheduler[Any]:
    session, tensors, config = prepared.opened.session, prepared.tensors, prepared.config
    states = {state.output_name for state in config.sequence_batching.state}
    seen = {*names(tensors.outputs), *states}
    outputs = [spec for spec in session.outputs if spec.name in seen]
    sequences = SequencePlan.of(
        config,
        session.inputs,
        outputs,
        lambda name: prepared.files.read(f"{_INITIAL_STATE}/{name}"),
        instances=plan.threads,
        max_waiting=plan.max_waiting,
    )
    view = view_of(session, tensors, names(session.outputs), names(outputs))
    plan = replace(
        plan,
        max_waiting=max(plan.max_waiting, sequences.max_candidates),
        max_queue_delay_us=sequences.max_queue_delay_us,
        preferred_rows=sequences.preferred_rows,
    )
    engine: Engine[Any] = Engine(view, plan, prepared.signature.label, server)
    return SequenceScheduler(engine, sequences, config.name, timer=server.timer)
