"""What a submission may ask for, against a catalogue in a real queue's place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.catalogue import Catalogue
from wintergarden.errors import InvalidArgument, NotFound, Unavailable
from wintergarden.store.dataset_manifest import DatasetManifest, StoredDataset
from wintergarden.store.manifest import FileInfo
from wintergarden.wire import training_pb2 as pb

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "epochs": {"type": "integer", "minimum": 1, "maximum": 200, "default": 20},
        "learning_rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "layers": {"type": "array", "items": {"type": "integer", "minimum": 1}},
    },
}
CATALOGUE = {
    "architectures": [
        {"name": "lenet5", "hyperparameters_schema": SCHEMA, "datasets": ["mnist-5k", "digits"]},
        {"name": "mlp", "hyperparameters_schema": SCHEMA, "datasets": ["wine"]},
    ],
    "datasets": [{"name": "mnist-5k"}, {"name": "digits"}, {"name": "wine"}],
}


class Registered:
    """The one thing the catalogue asks of the jobs."""

    def __init__(self, catalogue: dict[str, Any] | None) -> None:
        self._catalogue = catalogue

    def read_catalogue(self) -> dict[str, Any] | None:
        return self._catalogue


def check(**fields: Any) -> Any:
    spec = pb.TrainingSpec(**{"architecture": "lenet5", "dataset": "digits", **fields})
    return Catalogue(Registered(CATALOGUE)).check(spec)  # type: ignore[arg-type]


def test_defaults_are_filled_in() -> None:
    spec = check(seed=7, hyperparameters_json='{"epochs": 3}')
    assert (spec.model, spec.seed, spec.hyperparameters) == ("lenet5-digits", 7, {"epochs": 3})
    assert check(model="mine").model == "mine"


def test_unknown_names_name_the_known() -> None:
    with pytest.raises(NotFound, match="no architecture 'lenet6'; there are lenet5, mlp"):
        check(architecture="lenet6")
    with pytest.raises(NotFound, match="no data set 'imagenet'; there are mnist-5k, digits, wine"):
        check(dataset="imagenet")


def test_a_pair_that_does_not_fit() -> None:
    with pytest.raises(InvalidArgument, match="cannot be trained on 'wine'; it takes mnist-5k"):
        check(dataset="wine")


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        ('{"epochs": 0}', "epochs", r"'epochs': 0 is less .* allowed: .*\"maximum\": 200"),
        ('{"epochs": 2.5}', "epochs", "'epochs': 2.5 is not of type 'integer'"),
        ('{"epochs": true}', "epochs", "'epochs': True is not of type 'integer'"),
        ('{"layers": [4, 0]}', "layers.1", r"'layers\.1': 0 is less than the minimum"),
        ('{"epoch": 3}', "", "no hyperparameter epoch; there are epochs, layers, learning_rate"),
        ('{"learning_rate": NaN}', "json", "NaN is no JSON number"),
        ('{"learning_rate": -Infinity}', "json", "-Infinity is no JSON number"),
        ("[1]", "json", "must be a JSON object, got list"),
        ("{", "json", "not JSON"),
        ("[" * 100_000, "json", "not JSON"),
    ],
)
def test_hyperparameters_out_of_bounds(text: str, field: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says) as caught:
        check(hyperparameters_json=text)
    where = {"json": "_json", "": ""}.get(field, f".{field}")
    assert caught.value.field == f"training.hyperparameters{where}"


def test_no_depth_of_hyperparameters_is_an_error_of_ours() -> None:
    for depth in range(500, 1_000, 2):
        with pytest.raises(InvalidArgument):
            check(hyperparameters_json='{"layers": %s}' % ("[" * depth + "]" * depth))


def test_before_any_trainer_has_registered() -> None:
    with pytest.raises(Unavailable, match="no trainer has registered"):
        Catalogue(Registered(None)).architectures()  # type: ignore[arg-type]


NETWORKS = [
    {"name": "lenet5", "datasets": ["digits"], "tasks": ["image-classification"],
     "image_side": 32, "hyperparameters_schema": SCHEMA},
    {"name": "mlp", "datasets": ["digits"],
     "tasks": ["tabular-classification", "image-classification"],
     "image_side": None, "hyperparameters_schema": SCHEMA},
]  # fmt: skip


class Uploaded:
    """What the catalogue asks of the store of data sets."""

    def __init__(self, *datasets: StoredDataset) -> None:
        self._datasets = datasets

    def list(self) -> list[StoredDataset]:
        return list(self._datasets)

    def find(self, name: str) -> StoredDataset:
        for dataset in self._datasets:
            if name in (dataset.name, f"{dataset.name}@sha256:{dataset.digest}"):
                return dataset
            if name == f"sha256:{dataset.digest}":
                return replace(dataset, name=name)
        raise NotFound("nothing of the kind")


def uploaded(name: str, task: str, shape: tuple[int, ...]) -> StoredDataset:
    empty = FileInfo(sha256="0" * 64, bytes=0)
    manifest = DatasetManifest(
        task=task, source="a test", input_name="x", input_shape=shape, units="",
        class_labels=("a", "b"), split_sizes={"train": 8}, files={}, upload=empty, format="csv",
        options={}, report={},
    )  # type: ignore[arg-type]  # fmt: skip
    return StoredDataset(name, name[0] * 64, manifest)


FLOWERS = uploaded("flowers", "tabular-classification", (4,))
ICONS = uploaded("cons", "image-classification", (1, 32, 32))
BANNERS = uploaded("banners", "image-classification", (1, 16, 64))
REVIEWS = uploaded("reviews", "text-classification", ())
ALL = (FLOWERS, ICONS, BANNERS, REVIEWS)


def with_uploads() -> Catalogue:
    registered = Registered({"architectures": NETWORKS, "datasets": [{"name": "digits"}]})
    return Catalogue(registered, Uploaded(*ALL))  # type: ignore[arg-type]


def test_uploaded_sets_are_listed_with_what_fits_them() -> None:
    catalogue = with_uploads()
    assert [entry["name"] for entry in catalogue.datasets()] == [
        "digits", "flowers", "cons", "banners", "reviews",
    ]  # fmt: skip
    fitting = {entry["name"]: entry["datasets"] for entry in catalogue.architectures()}
    assert fitting == {
        "lenet5": ["digits", "cons"], "mlp": ["digits", "flowers", "cons", "banners"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "written", "model"),
    [
        ("flowers", f"flowers@sha256:{'f' * 64}", "mlp-flowers"),
        (f"flowers@sha256:{'f' * 64}", f"flowers@sha256:{'f' * 64}", "mlp-flowers"),
        (f"sha256:{'f' * 64}", f"sha256:{'f' * 64}", f"mlp-{'f' * 12}"),
        ("digits", "digits", "mlp-digits"),
    ],
)
def test_a_job_says_which_content_the_name_stood_for(asked: str, written: str, model: str) -> None:
    spec = with_uploads().check(pb.TrainingSpec(architecture="mlp", dataset=asked))
    assert (spec.dataset, spec.model) == (written, model)


@pytest.mark.parametrize(
    ("architecture", "dataset", "says"),
    [
        ("lenet5", "flowers", "it is for image-classification, and this is tabular-class"),
        ("lenet5", "banners", "square and at most 32 pixels wide, these are 64x16"),
        ("mlp", "reviews", "for tabular-classification and image-classification, and this is te"),
    ],
)
def test_an_uploaded_set_that_does_not_fit(architecture: str, dataset: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        with_uploads().check(pb.TrainingSpec(architecture=architecture, dataset=dataset))


def test_an_unknown_set_names_the_uploaded_too() -> None:
    with pytest.raises(NotFound, match="'x'; there are digits, flowers, cons, banners, reviews"):
        with_uploads().check(pb.TrainingSpec(architecture="mlp", dataset="x"))
