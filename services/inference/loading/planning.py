"""Makes the plan of a model version from its configuration and from what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from services.inference.scheduling.plan import Plan, QueuePolicy, Resource
from wintergarden.errors import InvalidArgument
from wintergarden.wire import model_config_pb2 as pb

# A batch on the caller's own thread may take this many times what one row may.
_INLINE_BATCH = 4
_LONGEST_DELAY_US = 3_600_000_000  # an hour; what a lock can wait for has a bound


@dataclass(frozen=True)
class Measured:
    """What was found out about a session.

    Attributes:
        inputs: names of the graph's inputs, in its order.
        is_rowwise: requests may share a run.
        has_fixed_cost: a run costs what its number of rows costs.
        times: seconds of a run by its rows.
        device: `cpu` or `cuda`.
    """

    inputs: tuple[str, ...]
    is_rowwise: bool
    has_fixed_cost: bool
    times: Mapping[int, float]
    device: str


def make_plan(
    config: pb.ModelConfig,
    found: Measured,
    *,
    max_rows: int,
    threads: int,
    max_waiting: int,
    inline_run_s: float,
) -> Plan:
    """The plan.

    Args:
        config: says how requests wait; what it leaves out is as without a configuration.
        found: about the session.
        max_rows: of one run.
        threads: runs that may go on at once.
        max_waiting: requests that may wait.
        inline_run_s: a model whose run of one row takes less runs on the caller's thread.
    """
    batching = config.dynamic_batching
    is_queued = config.HasField("dynamic_batching")
    resources, rate_priority = _resources(config.instance_group)
    inline_rows = _inline_rows(found, inline_run_s)
    max_rows = max_rows if found.is_rowwise else 0  # 0: nothing to wait for others for
    return Plan(
        inputs=found.inputs,
        max_rows=max_rows,
        inline_rows=inline_rows,
        inline_limit_us=int(_INLINE_BATCH * inline_run_s * 1e6),
        threads=threads,
        gives_way=not inline_rows,
        max_waiting=max_waiting,
        oversized=_oversized(config),
        preferred_rows=tuple(batching.preferred_batch_size),
        max_queue_delay_us=(
            min(batching.max_queue_delay_microseconds, _LONGEST_DELAY_US) if max_rows else 0
        ),
        preserves_order=batching.preserve_ordering,
        priority_levels=batching.priority_levels,
        default_priority=batching.default_priority_level,
        queue_policy=(
            _policy(batching.default_queue_policy)
            if is_queued and batching.HasField("default_queue_policy")
            else QueuePolicy()
        ),
        priority_policies={n: _policy(p) for n, p in batching.priority_queue_policy.items()},
        resources=resources,
        rate_priority=rate_priority,
        device=found.device,
    )


def _inline_rows(found: Measured, inline_run_s: float) -> int:
    if not found.has_fixed_cost or found.times.get(1, math.inf) > inline_run_s:
        return 0
    longest = _INLINE_BATCH * inline_run_s
    return max(rows for rows, seconds in found.times.items() if seconds <= longest)


def _policy(policy: pb.ModelQueuePolicy) -> QueuePolicy:
    return QueuePolicy(
        timeout_us=policy.default_timeout_microseconds,
        timeout_action="DELAY" if policy.timeout_action else "REJECT",
        allows_override=policy.allow_timeout_override,
        max_waiting=policy.max_queue_size,
    )


def _oversized(config: pb.ModelConfig) -> Literal["split", "refuse"]:
    text = config.parameters["oversized"].string_value if "oversized" in config.parameters else ""
    if text in ("", "split"):
        return "split"
    if text == "refuse":
        return "refuse"
    raise InvalidArgument(
        f"model {config.name!r:.200}: parameter oversized {text!r:.80}; allowed are split and "
        "refuse",
        field="parameters.oversized",
    )


def _resources(groups: Sequence[pb.ModelInstanceGroup]) -> tuple[tuple[Resource, ...], int]:
    """Of the first group that names any: all instances of a model are alike here."""
    for group in groups:
        limiter = group.rate_limiter
        if limiter.resources or limiter.priority:
            return (
                tuple(
                    Resource(r.name, r.count, is_global=getattr(r, "global"))
                    for r in limiter.resources
                ),
                limiter.priority,
            )
    return (), 0
