"""What the manifest says of a trained network."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.recipes.tasks import Filtering
from trainer.recipes.trained import Trained
from wintergarden import __version__
from wintergarden.store import Lineage, ManifestFields, TensorInfo
from wintergarden.store.manifest import VocabularyInfo
from wintergarden.text import Vocabulary


def make_fields(trained: Trained, metrics: Mapping[str, float]) -> ManifestFields:
    """The manifest, as far as the training knows it."""
    info = trained.dataset.info
    return ManifestFields(
        architecture=trained.architecture.name,
        task="filtering" if isinstance(trained.task, Filtering) else info.task,
        inputs=(
            TensorInfo(
                name=info.input_name,
                datatype="INT64" if info.vocabulary else "FP32",
                shape=(-1, *info.input_shape),
                meaning=", ".join(info.feature_names) or info.summary,
                units=info.units,
                value_range=info.value_range,
            ),
        ),
        outputs=trained.task.describe(info),
        hyperparameters=trained.hyperparameters.model_dump(mode="json"),
        preprocessing=trained.preprocessing.describe(),
        class_labels=info.class_labels,
        vocabulary=described(info.vocabulary),
        target_vocabulary=described(info.target_vocabulary),
        metrics=dict(metrics),
        lineage=Lineage(
            code_version=__version__,
            dataset=info.name,
            dataset_digest=trained.dataset.digest,
            seed=trained.seed,
            parent=trained.parent or None,
            environment=trained.environment,
        ),
    )


def described(vocabulary: Vocabulary | None) -> VocabularyInfo | None:
    """As a manifest has it."""
    return None if vocabulary is None else VocabularyInfo(**vocabulary.to_fields())
