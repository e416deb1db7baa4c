"""The model card: what a person wants to know before they trust the model.

Mitchell et al., "Model cards for model reporting", FAT* 2019, §4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from trainer.export.charts import Chart
from trainer.recipes.trained import Trained
from wintergarden.store.names import CARD

CURVE_ROWS = 12
CARD_FOLDER = CARD.rpartition("/")[0]


def write_card(
    model: str, trained: Trained, metrics: Mapping[str, float], charts: Sequence[Chart] = ()
) -> str:
    """The card as Markdown; charts lie beside it."""
    task = trained.task
    dataset, info = trained.dataset, trained.dataset.info
    values = "any" if info.value_range is None else "{} to {}".format(*info.value_range)
    shape = ", ".join(map(str, info.input_shape))
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
            f"Input `{info.input_name}`: {dataset.train.inputs.dtype}, shape (N, {shape}), "
            f"{info.units}; values {values}. In the graph: {trained.preprocessing.describe()}.",
            *(
                f"Output `{output.name}`: float32, shape "
                f"(N, {', '.join(map(str, output.shape[1:]))}), {output.meaning}."
                for output in task.describe(info)
            ),
            f"{'Values' if task.score == 'r2' else 'Classes'}: {', '.join(info.class_labels)}.",
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
