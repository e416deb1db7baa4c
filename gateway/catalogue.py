"""What the trainers offer, and whether a submission asks for something they have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema

from wintergarden.errors import InvalidArgument, NotFound, Unavailable
from wintergarden.jobs import Jobs, TrainingSpec
from wintergarden.wire import training_pb2 as pb

Entry = Mapping[str, Any]


class Catalogue:
    """Reads what the trainers registered; the gateway itself knows no architecture."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def architectures(self) -> Sequence[Entry]:
        return self._read("architectures")

    def datasets(self) -> Sequence[Entry]:
        return self._read("datasets")

    def check(self, spec: pb.TrainingSpec) -> TrainingSpec:
        """The specification of a job, with defaults filled in.

        Raises:
            NotFound: no such architecture or data set; the message names those there are.
            InvalidArgument: a hyperparameter that the architecture's schema refuses.
            Unavailable: no trainer has registered yet.
        """
        architecture = _find(self.architectures(), spec.architecture, "architecture")
        dataset = _find(self.datasets(), spec.dataset, "data set")
        if dataset["name"] not in architecture["datasets"]:
            raise InvalidArgument(
                f"architecture {architecture['name']!r} cannot be trained on {dataset['name']!r}; "
                f"it takes {_names(architecture['datasets'])}",
                field="training.dataset",
            )
        return TrainingSpec(
            architecture=architecture["name"],
            dataset=dataset["name"],
            model=spec.model or f"{architecture['name']}-{dataset['name']}",
            hyperparameters=_hyperparameters(spec.hyperparameters_json, architecture),
            seed=spec.seed,
        )

    def _read(self, part: str) -> Sequence[Entry]:
        catalogue = self._jobs.read_catalogue()
        if catalogue is None:
            raise Unavailable(
                "no trainer has registered what it can train; start one with `python -m trainer`"
            )
        entries: Sequence[Entry] = catalogue[part]
        return entries


def _find(entries: Sequence[Entry], name: str, kind: str) -> Entry:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise NotFound(f"no {kind} {name!r}; there are {_names([e['name'] for e in entries])}")


def _hyperparameters(text: str, architecture: Entry) -> dict[str, Any]:
    try:
        # Python reads NaN and Infinity, which are no JSON and slip through every limit.
        values = json.loads(text or "{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"hyperparameters are not JSON: {error}", field="training.hyperparameters_json"
        ) from error
    if not isinstance(values, dict):
        raise InvalidArgument(
            f"hyperparameters must be a JSON object, got {type(values).__name__}",
            field="training.hyperparameters_json",
        )
    schema = architecture["hyperparameters_schema"]
    validator = jsonschema.Draft202012Validator(schema)
    worst = jsonschema.exceptions.best_match(validator.iter_errors(values))
    if worst is not None:
        raise InvalidArgument(
            _explain(worst, architecture["name"], schema),
            field=".".join(["training.hyperparameters", *(str(p) for p in worst.absolute_path)]),
        )
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _explain(error: jsonschema.ValidationError, architecture: str, schema: Entry) -> str:
    allowed = schema.get("properties", {})
    if error.validator == "additionalProperties":
        unknown = sorted(set(error.instance) - set(allowed))
        return (
            f"architecture {architecture!r} has no hyperparameter {_names(unknown)}; "
            f"there are {_names(sorted(allowed))}"
        )
    name = ".".join(str(part) for part in error.absolute_path)
    limits = {
        key: value
        for key, value in allowed.get(name.split(".")[0], {}).items()
        if key not in ("title", "description", "default")
    }
    what = f"hyperparameter {name!r}" if name else "hyperparameters"
    return f"{what}: {error.message}; allowed: {json.dumps(limits)}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"
