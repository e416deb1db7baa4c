"""Puts a trained classifier into the model store, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import safetensors.torch
import torch

from trainer.data.dataset import Dataset
from trainer.export.card import write_card
from trainer.export.graph import LOGITS, PROBABILITIES, ServedClassifier, export
from trainer.export.parity import TOLERANCE, check_parity, run_onnx, run_torch
from trainer.recipes.classification import Trained, evaluate
from wintergarden import __version__
from wintergarden.errors import Cancelled, DataLoss
from wintergarden.runtime import RuntimeOptions, open_session
from wintergarden.store import Lineage, Manifest, ManifestFields, ModelStore, TensorInfo
from wintergarden.store.golden import replay, write_golden
from wintergarden.store.names import CARD, GOLDEN, MODEL, REFERENCE, WEIGHTS
from wintergarden.store.reference import MAX_EXAMPLES, write_reference

GOLDEN_ROWS = 7
BACKGROUND_ROWS = 100


def publish(
    store: ModelStore,
    model: str,
    trained: Trained,
    job_id: str = "",
    may_publish: Callable[[int], bool] = lambda version: True,
) -> Manifest:
    """Exports, proves, measures and publishes a trained network.

    Args:
        store: where to.
        model: its name there.
        trained: the network, and what it was trained on.
        job_id: for the lineage.
        may_publish: asked once with the claimed version number, when everything is written and
            the manifest, which makes it visible, is not.

    Raises:
        DataLoss: the exported graph does not compute what the network computes.
        Cancelled: `may_publish` said no.
    """
    dataset, info = trained.dataset, trained.dataset.info
    served = ServedClassifier(trained).eval()
    example = torch.from_numpy(dataset.train.inputs[:2])
    onnx_bytes = export(served, example, info.input_name).SerializeToString(deterministic=True)
    session = open_session(onnx_bytes, RuntimeOptions(device="cpu"))
    metrics = {
        "export_parity": check_parity(served, session, dataset),
        "test_accuracy": _served_accuracy(run_onnx(session, dataset.test.inputs), dataset),
        "validation_accuracy": evaluate(trained, dataset.validation)[1],
        "kept_epoch": float(trained.kept_epoch),
        "epochs": float(len(trained.history)),
        "parameters": float(sum(p.numel() for p in trained.network.parameters())),
        "train_seconds": sum(row["epoch_seconds"] for row in trained.history),
    }
    golden_inputs = {info.input_name: dataset.test.inputs[:GOLDEN_ROWS]}
    golden = write_golden(golden_inputs, run_torch(served, golden_inputs[info.input_name]))
    # As whoever loads the version will do: what would be refused there is not published here.
    replay(lambda inputs: run_onnx(session, inputs[info.input_name]), golden, TOLERANCE)
    with store.publish(model) as draft:
        draft.write(MODEL, onnx_bytes)
        draft.write(GOLDEN, golden)
        draft.write(
            REFERENCE,
            write_reference(
                {info.input_name: dataset.test.inputs[:MAX_EXAMPLES]},
                dataset.test.labels[:MAX_EXAMPLES],
                dataset.train.inputs[:BACKGROUND_ROWS],
            ),
        )
        draft.write(WEIGHTS, safetensors.torch.save(served.state_dict()))
        draft.write(CARD, write_card(model, trained, metrics).encode())
        if not may_publish(draft.version):
            raise Cancelled(f"version {draft.version} of {model!r} may not be published")
        return draft.commit(_fields(trained, job_id, metrics))


def _served_accuracy(outputs: Mapping[str, Any], dataset: Dataset) -> float:
    """Accuracy of the exported graph itself, on examples no choice has seen."""
    if not np.isfinite(outputs[LOGITS]).all():
        raise DataLoss("the exported graph answers values that are not finite")
    return float((outputs[LOGITS].argmax(axis=1) == dataset.test.labels).mean())


def _fields(trained: Trained, job_id: str, metrics: Mapping[str, float]) -> ManifestFields:
    info = trained.dataset.info
    classes = len(info.class_labels)
    return ManifestFields(
        architecture=trained.architecture.name,
        task=info.task,
        inputs=(
            TensorInfo(
                name=info.input_name,
                datatype="FP32",
                shape=(-1, *info.input_shape),
                meaning=", ".join(info.feature_names) or info.summary,
                units=info.units,
                value_range=info.value_range,
            ),
        ),
        outputs=(
            TensorInfo(
                name=LOGITS,
                datatype="FP32",
                shape=(-1, classes),
                meaning="unnormalised log-probability of each class",
                units="nats",
            ),
            TensorInfo(
                name=PROBABILITIES,
                datatype="FP32",
                shape=(-1, classes),
                meaning="probability of each class",
                value_range=(0.0, 1.0),
            ),
        ),
        hyperparameters=trained.hyperparameters.model_dump(mode="json"),
        preprocessing=trained.preprocessing.describe(),
        class_labels=info.class_labels,
        metrics=dict(metrics),
        tolerances={"fp32": TOLERANCE},
        lineage=Lineage(
            job_id=job_id or None,
            code_version=__version__,
            dataset=info.name,
            dataset_digest=trained.dataset.digest,
            seed=trained.seed,
            # With these and the seed the same, the weights are the same, bit by bit.
            environment={
                "torch": torch.__version__,
                "threads": str(torch.get_num_threads()),
                "cpu": torch.backends.cpu.get_cpu_capability(),
            },
        ),
    )
