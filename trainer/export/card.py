"""The model card: what a person wants to know before they trust the model.

Mitchell et al., "Model cards for model reporting", FAT* 2019, §4.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from trainer.export.charts import Chart
from trainer.recipes.trained import Trained
from wintergarden.store import ManifestFields, TensorInfo
from wintergarden.store.names import CARD

CURVE_ROWS = 12
CARD_FOLDER = CARD.rpartition("/")[0]


_TYPES = {"FP32": "float32", "INT64": "int64"}


def write_card(
    model: str, trained: Trained, fields: ManifestFields, charts: Sequence[Chart] = ()
) -> str:
    """The card as Markdown; charts lie beside it."""
    task, metrics = trained.task, fields.metrics
    dataset, info = trained.dataset, trained.dataset.info
    shown = trained.history[:: max(1, len(trained.history) // CURVE_ROWS)]
    if trained.history and shown[-1] is not trained.history[-1]:
        shown = [*shown, trained.history[-1]]
    return "\n".join(
        [
            f"# {model}",
            "",
            f"{trained.architecture.summary}. {trained.architecture.source}.",
            "",
            f"Trained on {info.name}: {info.summary} ({info.source}).",
            f"Train {len(dataset.train)}, validation {len(dataset.validation)}, "
            f"held-out test {len(dataset.test)} examples.",
            "",
            "## Use",
            "",
            *(
                f"Input `{given.name}`: {_tensor(given)}, {given.units or given.meaning}"
                f"{_values(given)}."
                for given in fields.inputs
            ),
            f"In the graph: {fields.preprocessing}.",
            *(
                f"Output `{output.name}`: {_tensor(output)}, {output.meaning}."
                for output in fields.outputs
            ),
            *_labels(trained),
            *([f"Began with the weights of {trained.parent}."] if trained.parent else []),
            "",
            "## Measured",
            "",
            f"`test_{task.score}` is the exported graph's, on the held-out test part; "
            "`export_parity` its largest difference from PyTorch, relative where outputs exceed 1. "
            "`_fp16` and `_int8` are the same of the graph in that precision; `speedup` is "
            "against fp32, on the processor that trained it.",
            "",
            "| metric | value |",
            "|---|---|",
            *(f"| {name} | {value:.6g} |" for name, value in sorted(metrics.items())),
            "",
            *(line for chart in charts for line in (f"![{chart.caption}]({chart.name})", "")),
            "## Training",
            "",
            f"Weights of epoch {trained.kept_epoch} of {len(trained.history)}; "
            f"seed {trained.seed}; data sha256 {dataset.digest}. Hyperparameters:",
            "",
            "```json",
            json.dumps(trained.hyperparameters.model_dump(mode="json"), indent=2, sort_keys=True),
            "```",
            "",
            f"| epoch | train loss | validation loss | validation {task.score.replace('_', ' ')} |",
            "|---|---|---|---|",
            *(
                f"| {row['epoch']:.0f} | {row['train_loss']:.4f} | {row['validation_loss']:.4f} "
                f"| {row[f'validation_{task.score}']:.4f} |"
                for row in shown
            ),
            "",
        ]
    )


def _tensor(info: TensorInfo) -> str:
    sizes = ("N" if info.shape[:1] == (-1,) else str(info.shape[0]), *map(str, info.shape[1:]))
    return f"{_TYPES.get(info.datatype, info.datatype)}, shape ({', '.join(sizes)})"


def _values(info: TensorInfo) -> str:
    return "" if info.value_range is None else "; values {} to {}".format(*info.value_range)


def _labels(trained: Trained) -> list[str]:
    labels = trained.dataset.info.class_labels
    kind = "Values" if trained.task.score == "r2" else "Classes"
    return [f"{kind}: {', '.join(labels)}."] if labels else []
