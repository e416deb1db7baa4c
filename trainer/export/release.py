"""Everything a version is made of, proved and measured, before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch

from trainer.data.dataset import Array, Dataset
from trainer.export.card import CARD_FOLDER, write_card
from trainer.export.charts import Chart, draw
from trainer.export.fields import make_fields
from trainer.export.findings import findings
from trainer.export.graph import ServedNetwork, export, variable_axes
from trainer.export.parity import (
    TOLERANCE,
    Parity,
    check_parity,
    run_onnx,
    run_torch,
    served_metrics,
)
from trainer.export.variants import Exported, Variant, VariantRefused, make_variant
from trainer.recipes.evaluation import evaluate
from trainer.recipes.tasks import Regression
from trainer.recipes.trained import Trained
from wintergarden.runtime import RuntimeOptions, open_session
from wintergarden.store import ManifestFields
from wintergarden.store.golden import replay, write_golden
from wintergarden.store.names import CARD, GOLDEN, MODEL, REFERENCE, VARIANTS, WEIGHTS
from wintergarden.store.reference import MAX_BYTES, MAX_EXAMPLES, write_reference

GOLDEN_ROWS = 7
BACKGROUND_ROWS = 100


@dataclass(frozen=True)
class Release:
    """A version without a number.

    Attributes:
        files: content by name.
        fields: of its manifest.
        charts: pictures of the training and of what came of it; they are among the files too.
        suffix: of the model's name: of a sibling; empty: it is the model itself.
    """

    files: Mapping[str, bytes]
    fields: ManifestFields
    charts: tuple[Chart, ...] = ()
    suffix: str = ""


def make_release(
    trained: Trained,
    model: str,
    variants: Sequence[str] = (),
    warn: Callable[[str], None] = lambda text: None,
) -> Release:
    """Exports a trained network, and proves and measures what came of it. Takes seconds.

    Args:
        trained: the network, and what it was trained on.
        model: its name, for the card.
        variants: precisions to have beside fp32. One that is not good enough is left out, with a
            warning: a training is not thrown away for it.
        warn: told what a person should know.

    Raises:
        DataLoss: the exported graph does not compute what the network computes.
    """
    dataset, info = trained.dataset, trained.dataset.info
    exported, parity = _export(trained)
    made = list(_make(variants, exported, dataset, warn))
    content = exported.model.SerializeToString(deterministic=True)
    metrics = {
        "bytes": float(len(content)),
        "export_parity": parity.worst,
        **trained.measures(),
    }
    metrics |= {f"test_{name}": value for name, value in exported.metrics.items()}
    on_validation = evaluate(trained, dataset.validation)
    metrics |= {f"validation_{name}": value for name, value in on_validation.items()}
    found = findings(exported.session, trained)
    metrics |= found.metrics
    for variant in made:
        metrics |= variant.metrics
    drawn = draw(trained, found)
    fields = make_fields(trained, metrics).model_copy(
        update={
            "tolerances": {"fp32": exported.tolerance} | {v.precision: v.tolerance for v in made},
            "parity": {"fp32": parity.relative} | {v.precision: v.parity.relative for v in made},
        }
    )
    background = dataset.train.inputs[
        : kept_rows(BACKGROUND_ROWS, MAX_BYTES // 8, dataset.train.inputs)
    ]
    room = MAX_BYTES - background.nbytes
    examples = kept_rows(MAX_EXAMPLES, room, dataset.test.inputs, dataset.test.labels)
    reference = write_reference(
        {info.input_name: dataset.test.inputs[:examples]},
        dataset.test.labels[:examples],
        background,
    )
    files = {
        MODEL: content,
        **{VARIANTS[variant.precision]: variant.content for variant in made},
        GOLDEN: exported.golden,
        REFERENCE: reference,
        WEIGHTS: safetensors.torch.save(exported.served.state_dict()),
        CARD: write_card(model, trained, fields, drawn).encode(),
        **{f"{CARD_FOLDER}/{chart.name}": chart.content for chart in drawn},
    }
    return Release(files, fields, tuple(drawn))


def kept_rows(most: int, room: int, *arrays: Array) -> int:
    """How many rows of arrays fit into so many bytes: of large pictures fewer, but one."""
    row = sum(array[:1].nbytes for array in arrays)
    return max(1, min(most, room // max(1, row)))


def _export(trained: Trained) -> tuple[Exported, Parity]:
    """The graph in fp32, proved."""
    dataset, info = trained.dataset, trained.dataset.info
    served = ServedNetwork(trained).eval()
    example = torch.from_numpy(dataset.train.inputs[:2])
    lengths = variable_axes(info.input_shape)
    model = export(served, example, info.input_name, lengths, served.outputs)
    content = model.SerializeToString(deterministic=True)
    session = open_session(content, RuntimeOptions(device="cpu"))
    parity = check_parity(served, session, dataset)
    golden_inputs = {info.input_name: dataset.test.inputs[:GOLDEN_ROWS]}
    outputs = run_torch(served, golden_inputs[info.input_name])
    golden = write_golden(golden_inputs, outputs)
    tolerance = TOLERANCE
    if isinstance(trained.task, Regression):  # values have units, in which 1 may be next to nothing
        tolerance *= max(1.0, *(float(np.abs(values).max()) for values in outputs.values()))
    # As whoever loads the version will do: what would be refused there is not published here.
    replay(lambda inputs: run_onnx(session, inputs[info.input_name]), golden, tolerance)
    metrics = served_metrics(session, trained.task, dataset.test)
    return Exported(served, model, session, golden, trained.task, metrics, tolerance), parity


def _make(
    variants: Sequence[str], exported: Exported, dataset: Dataset, warn: Callable[[str], None]
) -> Iterator[Variant]:
    for precision in dict.fromkeys(variants):
        try:
            yield make_variant(precision, exported, dataset)
        except VariantRefused as refusal:
            warn(refusal.message)
