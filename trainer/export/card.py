"""The model card: what a person wants to know before they trust the model.

Mitchell et al., "Model cards for model reporting", FAT* 2019, §4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from trainer.recipes.classification import Trained

CURVE_ROWS = 12


def write_card(model: str, trained: Trained, metrics: Mapping[str, float]) -> str:
    """The card as Markdown."""
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
            f"Input `{info.input_name}`: float32, shape (N, {shape}), {info.units}; "
            f"values {values}. In the graph: {trained.preprocessing.describe()}.",
            f"Outputs `logits` and `probabilities`: float32, shape (N, {len(info.class_labels)}), "
            f"classes {', '.join(info.class_labels)}.",
            "",
            "## Measured",
            "",
            "`test_accuracy` is the exported graph's, on the held-out test part; `export_parity` "
            "its largest difference from PyTorch, relative where outputs exceed 1. `_fp16` and "
            "`_int8` are the same of the graph in that precision; `speedup` is against fp32, on "
            "the processor that trained it.",
            "",
            "| metric | value |",
            "|---|---|",
            *(f"| {name} | {value:.6g} |" for name, value in sorted(metrics.items())),
            "",
            "## Training",
            "",
            f"Weights of epoch {trained.kept_epoch} of {len(trained.history)}; "
            f"seed {trained.seed}; data sha256 {dataset.digest}. Hyperparameters:",
            "",
            "```json",
            json.dumps(trained.hyperparameters.model_dump(mode="json"), indent=2, sort_keys=True),
            "```",
            "",
            "| epoch | train loss | validation loss | validation accuracy |",
            "|---|---|---|---|",
            *(
                f"| {row['epoch']:.0f} | {row['train_loss']:.4f} | {row['validation_loss']:.4f} "
                f"| {row['validation_accuracy']:.4f} |"
                for row in shown
            ),
            "",
        ]
    )
