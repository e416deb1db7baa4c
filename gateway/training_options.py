"""How a training runs, beside what it trains: limits, devices, variants, promotion."""

from __future__ import annotations

import math
from dataclasses import replace

from wintergarden.errors import InvalidArgument
from wintergarden.jobs import TrainingSpec
from wintergarden.store.promotion import check_conditions, check_variants, parse_conditions
from wintergarden.wire import training_pb2 as pb

DEVICES = ("auto", "cpu", "cuda")
MAX_PROCESSES = 64


def training_options(spec: TrainingSpec, wanted: pb.TrainingSpec) -> TrainingSpec:
    """The specification with the options of a request.

    Raises:
        InvalidArgument: naming the option, what it got and what is allowed.
    """
    device = wanted.device or "auto"
    if device not in DEVICES:
        raise _refusal("device", repr(device), f"one of {', '.join(DEVICES)}")
    if not 0 <= wanted.processes <= MAX_PROCESSES:
        raise _refusal("processes", str(wanted.processes), f"1 to {MAX_PROCESSES}")
    if not (math.isfinite(wanted.max_seconds) and wanted.max_seconds >= 0):
        raise _refusal("max_seconds", f"{wanted.max_seconds:g}", "0 (no limit) or more")
    if wanted.max_memory_mb < 0:
        raise _refusal("max_memory_mb", str(wanted.max_memory_mb), "0 (no limit) or more")
    variants = tuple(dict.fromkeys(wanted.variants))
    check_variants(variants)
    check_conditions(parse_conditions(wanted.promote), variants)
    return replace(
        spec,
        device=device,
        processes=wanted.processes or 1,
        max_seconds=wanted.max_seconds,
        max_memory_mb=wanted.max_memory_mb,
        variants=variants,
        promote=tuple(wanted.promote),
    )


def _refusal(option: str, got: str, allowed: str) -> InvalidArgument:
    return InvalidArgument(f"{option}: got {got}; allowed is {allowed}", field=f"training.{option}")
