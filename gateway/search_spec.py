"""What a search of hyperparameters is asked to do, as a job's specification."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from wintergarden.errors import InvalidArgument
from wintergarden.jobs import SearchSpec, TrainingSpec
from wintergarden.wire import training_pb2 as pb

PRUNINGS = ("median", "hyperband", "none")
TYPES = ("float", "int", "choice")
MAX_TRIALS = 10_000


def search_spec(
    training: TrainingSpec, wanted: pb.SearchSpec, schema: Mapping[str, Any]
) -> SearchSpec:
    """The specification of a search.

    The ranges themselves are read by the search, which fails at once where they are none.

    Args:
        training: what the trials have in common, checked.
        wanted: of the request.
        schema: JSON Schema of the architecture's hyperparameters.

    Raises:
        InvalidArgument: naming the field, what it got and what is allowed.
    """
    space = _space(wanted.space_json, schema)
    pruning = wanted.pruning or "median"
    if pruning not in PRUNINGS:
        raise _refusal("pruning", repr(pruning), f"one of {', '.join(PRUNINGS)}")
    for name in ("trials", "parallel"):
        if not 0 <= getattr(wanted, name) <= MAX_TRIALS:
            raise _refusal(name, str(getattr(wanted, name)), f"1 to {MAX_TRIALS}")
    common = {name: value for name, value in asdict(training).items() if name != "promote"}
    default = SearchSpec({}, {})
    return SearchSpec(
        training=common,
        space=space,
        trials=wanted.trials or default.trials,
        parallel=wanted.parallel or default.parallel,
        metric=wanted.metric or default.metric,
        is_maximised=not wanted.minimize,
        pruning=pruning,
        seed=wanted.seed,
        promote=training.promote,
    )


def _space(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    try:
        space = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"space is not JSON: {error}", field="search.space_json") from error
    if not isinstance(space, dict) or not space:
        raise _refusal("space_json", text[:80] or "nothing", "a JSON object with a range or more")
    for name, allowed in space.items():
        if name not in schema["properties"]:
            there_are = ", ".join(sorted(schema["properties"]))
            raise InvalidArgument(
                f"space: no hyperparameter {name!r:.80}; there are {there_are}",
                field="search.space_json",
            )
        if not isinstance(allowed, dict) or allowed.get("type") not in TYPES:
            raise _refusal(
                f"space of {name!r}", f"{allowed!r:.80}", f"an object of type {', '.join(TYPES)}"
            )
    return space


def _refusal(option: str, got: str, allowed: str) -> InvalidArgument:
    return InvalidArgument(
        f"{option}: got {got}; allowed is {allowed}", field=f"search.{option.partition(' ')[0]}"
    )
