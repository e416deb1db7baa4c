"""What the trainers offer, and whether a submission asks for something they have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema

from gateway.fitting import refusal
from wintergarden.errors import InvalidArgument, NotFound, Unavailable
from wintergarden.jobs import Jobs, TrainingSpec
from wintergarden.store.dataset_manifest import StoredDataset
from wintergarden.store.datasets import DatasetStore
from wintergarden.wire import training_pb2 as pb

Entry = Mapping[str, Any]


class Catalogue:
    """Reads what the trainers registered; the gateway itself knows no architecture.

    Args:
        jobs: where the trainers register.
        uploaded: the data sets of the users; None: there are none.
    """

    def __init__(self, jobs: Jobs, uploaded: DatasetStore | None = None) -> None:
        self._jobs = jobs
        self._uploaded = uploaded

    def architectures(self) -> Sequence[Entry]:
        """With the names of all data sets that each can be trained on."""
        uploaded = self._uploads()
        return [
            {
                **entry,
                "datasets": [
                    *entry["datasets"],
                    *(dataset["name"] for dataset in uploaded if not refusal(entry, dataset)),
                ],
            }
            for entry in self._read("architectures")
        ]

    def datasets(self) -> Sequence[Entry]:
        """Those of the trainers, then the uploaded, which have a "digest"."""
        return [*self.registered_datasets(), *self._uploads()]

    def registered_datasets(self) -> Sequence[Entry]:
        """Those of the trainers alone."""
        return self._read("datasets")

    def schema(self, architecture: str) -> Mapping[str, Any]:
        """JSON Schema of an architecture's hyperparameters; NotFound where there is none."""
        entry = _find(self._read("architectures"), architecture, "architecture")
        found: Mapping[str, Any] = entry["hyperparameters_schema"]
        return found

    def check(self, spec: pb.TrainingSpec) -> TrainingSpec:
        """The specification of a job, with defaults filled in.

        An uploaded data set is written down with its digest, so that every attempt of the job is
        trained on what the name stood for when it was submitted.

        Raises:
            NotFound: no such architecture or data set; the message names those there are.
            InvalidArgument: a data set that does not fit, or a hyperparameter that the
                architecture's schema refuses.
            Unavailable: no trainer has registered yet.
        """
        architecture = _find(self._read("architectures"), spec.architecture, "architecture")
        dataset, called = self._dataset(spec.dataset)
        self._check_fits(architecture, dataset)
        return TrainingSpec(
            architecture=architecture["name"],
            dataset=called,
            model=spec.model or f"{architecture['name']}-{_short(dataset['name'])}",
            hyperparameters=_hyperparameters(spec.hyperparameters_json, architecture),
            seed=spec.seed,
        )

    def _dataset(self, name: str) -> tuple[Entry, str]:
        """The entry of a data set, and what a job's specification calls it."""
        for entry in self.registered_datasets():
            if entry["name"] == name:
                return entry, name
        if self._uploaded is None:
            return _find(self.registered_datasets(), name, "data set"), name
        try:
            stored = self._uploaded.find(name)
        except NotFound as error:
            there_are = _names([entry["name"] for entry in self.datasets()])
            raise NotFound(f"no data set {name!r:.200}; there are {there_are}") from error
        by_digest = f"sha256:{stored.digest}"
        is_named = not stored.name.startswith("sha256:")
        return uploaded_entry(stored), f"{stored.name}@{by_digest}" if is_named else by_digest

    def _check_fits(self, architecture: Entry, dataset: Entry) -> None:
        if "digest" in dataset:
            reason = refusal(architecture, dataset)
        elif dataset["name"] in architecture["datasets"]:
            reason = ""
        else:
            reason = f"it takes {_names(architecture['datasets'])}"
        if reason:
            raise InvalidArgument(
                f"architecture {architecture['name']!r} cannot be trained on {dataset['name']!r}; "
                + reason,
                field="training.dataset",
            )

    def _uploads(self) -> Sequence[Entry]:
        stored = self._uploaded.list() if self._uploaded else ()
        return [uploaded_entry(dataset) for dataset in stored]

    def _read(self, part: str) -> Sequence[Entry]:
        catalogue = self._jobs.read_catalogue()
        if catalogue is None:
            raise Unavailable(
                "no trainer has registered what it can train; start one with `python -m trainer`"
            )
        entries: Sequence[Entry] = catalogue[part]
        return entries


def uploaded_entry(stored: StoredDataset) -> Entry:
    """What is said of an uploaded data set, as trainers say it of theirs."""
    manifest = stored.manifest
    return {
        "name": stored.name,
        "summary": manifest.summary,
        "source": manifest.source,
        "task": manifest.task,
        "input_shape": list(manifest.input_shape),
        "class_labels": list(manifest.class_labels),
        "split_sizes": dict(manifest.split_sizes),
        "digest": stored.digest,
    }


def _short(dataset: str) -> str:
    """What the model's name says of a data set: no digest of 64 digits."""
    return dataset.removeprefix("sha256:")[:12] if dataset.startswith("sha256:") else dataset


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
    try:
        worst = jsonschema.exceptions.best_match(validator.iter_errors(values))
    except RecursionError as error:
        raise InvalidArgument(
            "hyperparameters are nested too deep", field="training.hyperparameters_json"
        ) from error
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
