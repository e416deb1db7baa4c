"""Which data sets there are, and how each is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from trainer.data import (
    captions,
    dates,
    digits,
    functions,
    scenes,
    source_code,
    tables,
    translations,
)
from trainer.data.dataset import Array, Dataset, DatasetInfo, stratified
from trainer.data.prepared import read_prepared
from wintergarden.errors import NotFound
from wintergarden.store.dataset_manifest import StoredDataset
from wintergarden.store.datasets import DatasetStore

Entry = tuple[DatasetInfo, Callable[[], Dataset]]


def _cut(info: DatasetInfo, load: Callable[[], tuple[Array, Array]]) -> Entry:
    """A data set whose parts are cut from the whole."""
    return info, lambda: stratified(info, *load())


_ENTRIES: tuple[Entry, ...] = (
    _cut(tables.BREAST_CANCER, tables.load_breast_cancer),
    (dates.DATES, dates.load_dates),
    _cut(tables.DIABETES, tables.load_diabetes),
    (captions.DIGIT_CAPTIONS, captions.load_digit_captions),
    (scenes.DIGIT_MASKS, scenes.load_digit_masks),
    (scenes.DIGIT_SCENES, scenes.load_digit_scenes),
    _cut(digits.DIGITS, digits.load_digits),
    *(
        (functions.function_info(name), partial(functions.load_function, name))
        for name in sorted(functions.FUNCTIONS)
    ),
    _cut(translations.LANGUAGES, translations.load_languages),
    _cut(digits.MNIST_5K, digits.load_mnist_5k),
    (source_code.PYTHON_SOURCE, source_code.load_python_source),
    (source_code.PYTHON_TAGS, source_code.load_python_tags),
    _cut(tables.WINE, tables.load_wine),
)
_SETS = {info.name: (info, load) for info, load in _ENTRIES}


def datasets() -> dict[str, DatasetInfo]:
    """Every data set that comes with packages, by name."""
    return {name: info for name, (info, _) in _SETS.items()}


def describe(name: str, store: DatasetStore | None = None) -> DatasetInfo:
    """The data set of that name, without loading it.

    Args:
        name: of one that comes with packages, or of an uploaded one; of these also
            `sha256:<digest>` and `name@sha256:<digest>`.
        store: that has the uploaded ones; None: there are none.

    Raises:
        NotFound: naming those there are.
    """
    if name in _SETS:
        return _SETS[name][0]
    if store is None:
        raise _unknown(name)
    return _describe_uploaded(_find(name, store))


def load(name: str, store: DatasetStore | None = None) -> Dataset:
    """The data set of that name; as for `describe`.

    Raises:
        NotFound: naming those there are.
        DataLoss: an uploaded one is corrupt.
    """
    if name in _SETS:
        return _SETS[name][1]()
    if store is None:
        raise _unknown(name)
    stored = _find(name, store)
    return read_prepared(store.fetch(stored), _describe_uploaded(stored))


def _find(name: str, store: DatasetStore) -> StoredDataset:
    try:
        return store.find(name)
    except NotFound:
        if ":" in name:
            raise
        raise _unknown(name, store.names()) from None


def _describe_uploaded(stored: StoredDataset) -> DatasetInfo:
    manifest = stored.manifest
    return DatasetInfo(
        name=stored.name,
        summary=manifest.summary,
        source=manifest.source,
        task=manifest.task,
        input_name=manifest.input_name,
        input_shape=manifest.input_shape,
        units=manifest.units,
        value_range=manifest.value_range,
        class_labels=manifest.class_labels,
        split_sizes=dict(manifest.split_sizes),
        feature_names=manifest.feature_names,
        uploaded_digest=stored.digest,
        is_verbatim=manifest.task == "language-modelling",
    )


def _unknown(name: str, uploaded: Iterable[str] = ()) -> NotFound:
    return NotFound(f"no data set {name!r}; there are {', '.join([*_SETS, *uploaded])}")
