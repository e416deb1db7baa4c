"""What the trainer publishes in lower precision is what the inference service loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.inference.loading.loader import Loader, LoaderOptions
from services.inference.repository.repository import Repository
from services.inference.sources.store import StoreSource
from trainer.data.registry import load
from trainer.export.publish import publish
from trainer.export.release import make_release
from trainer.recipes.supervised import train
from trainer.zoo.registry import find
from wintergarden.errors import DataLoss
from wintergarden.store import ManifestFields, ModelStore, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    mlp = find("mlp")
    trained = train(mlp, mlp.hyperparameters.parse({"epochs": 20}), load("wine"), seed=0)
    opened = open_store(str(tmp_path_factory.mktemp("store")))
    publish(opened, "wine", make_release(trained, "wine", ("fp16", "int8")))
    return opened


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_it_is_loaded_replayed_and_answers_nearly_as_fp32(
    store: ModelStore, precision: str
) -> None:
    text = f'parameters {{ key: "precision" value {{ string_value: "{precision}" }} }}'
    store.write_configuration("wine", text.encode())
    source = StoreSource(store)
    loader = Loader(LoaderOptions(device="cpu"), Repository().resolve)
    model = loader.load("wine", 1, source.files("wine", 1), source.configuration("wine"))
    try:
        assert model.configuration.default_model_filename == f"model.{precision}.onnx"
        assert [spec.datatype for spec in model.signature.inputs] == ["FP32"]
        assert [spec.datatype for spec in model.signature.outputs] == ["FP32", "FP32"]
    finally:
        model.scheduler.close()


def test_each_variant_has_a_tolerance_of_its_own(store: ModelStore) -> None:
    tolerances = store.read_manifest("wine", 1).tolerances
    assert tolerances.keys() == {"fp32", "fp16", "int8"}
    assert np.all(np.diff([tolerances[p] for p in ("fp32", "fp16", "int8")]) > 0)


def test_a_file_of_another_network_is_not_served(store: ModelStore, tmp_path: Path) -> None:
    """The tolerance of a variant is wide, and not so wide that another network passes."""
    mlp = find("mlp")
    other = train(mlp, mlp.hyperparameters.parse({"epochs": 20}), load("wine"), seed=1)
    release = make_release(other, "wine", ("int8",))
    right = store.fetch("wine", 1)
    mixed = open_store(str(tmp_path))
    with mixed.publish("wine") as draft:
        draft.write("model.onnx", right.read("model.onnx"))
        draft.write("model.int8.onnx", release.files["model.int8.onnx"])
        draft.write("golden.npz", right.read("golden.npz"))
        fields = {name: getattr(right.manifest, name) for name in ManifestFields.model_fields}
        draft.commit(ManifestFields(**fields))
    mixed.write_configuration(
        "wine", b'parameters { key: "precision" value { string_value: "int8" } }'
    )
    source = StoreSource(mixed)
    loader = Loader(LoaderOptions(device="cpu"), Repository().resolve)
    with pytest.raises(DataLoss, match="golden output"):
        loader.load("wine", 1, source.files("wine", 1), source.configuration("wine"))
