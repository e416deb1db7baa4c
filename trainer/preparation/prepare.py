"""The kind of job that makes a data set: uploaded file → examples → parts → report → store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.data.dataset import Array
from trainer.data.prepared import write_prepared
from trainer.preparation.examples import TEST, TRAIN, VALIDATION, Examples, Tick
from trainer.preparation.limits import limited
from trainer.preparation.missing import check_missing, complete, count_missing
from trainer.preparation.order import parse_preparation_order
from trainer.preparation.parts import assign, members, without_duplicates
from trainer.preparation.report import write_report
from wintergarden.errors import InvalidArgument
from wintergarden.store.cache import fingerprint
from wintergarden.store.dataset_manifest import DatasetManifest
from wintergarden.store.datasets import PREPARED, open_datasets
from wintergarden.store.directory import translate
from wintergarden.store.manifest import FileInfo
from wintergarden.store.preparation import Format, PreparationOptions
from wintergarden.worker.control import Control

# Shares of the whole job, for progress.
FETCH_END, READ_END, WRITE_END = 0.1, 0.8, 0.95

_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
_SOURCES = {"npz": "an NPZ file", "csv": "a CSV file", "parquet": "a Parquet file"} | {
    "images": "an archive of pictures", "text": "texts",
}  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready to be stored.

    Attributes:
        examples: without dropped duplicates.
        inputs: (N, …), complete, as they are stored.
        parts: (N,) of each example.
        report: what was found.
    """

    examples: Examples
    inputs: Array
    parts: Array
    report: dict[str, Any]


def run(text: bytes | str, control: Control) -> dict[str, Any]:
    """Carry out an order to prepare: the data set then has the name it was ordered for.

    Returns:
        As "metrics", the numbers of examples, classes and warnings.

    Raises:
        Stopped: it was asked to.
        InvalidArgument: the file is not what it should be; the message says what and where.
        NotFound: there is no such upload.
        Cancelled: it may not be published, for somebody else does the job now.
        StorageFull: the store, or this machine's disk.
    """
    order = parse_preparation_order(text)
    options, file_format = order.wishes, order.file_format
    control.progress("data", 0.0)
    store = open_datasets(order.store_uri)
    upload = store.uploads.fetch(order.upload)
    control.progress("data", FETCH_END)

    def tick(done: float) -> None:
        share = FETCH_END + (READ_END - FETCH_END) * done
        control.progress("data", share, int(1000 * done), is_due=False)

    def may_publish() -> bool:
        control.progress("publish", WRITE_END)
        return control.may_publish(0)

    make_ready(file_format, options.task)
    with limited(order.memory_mb, order.processor_s):
        prepared = arrange(read(upload, file_format, options, tick), options)
    control.progress("data", READ_END)
    with tempfile.TemporaryDirectory(dir=order.work_dir or None) as folder:
        path = Path(folder) / PREPARED
        _write(path, prepared, options.seed)
        info = FileInfo(sha256=order.upload, bytes=upload.stat().st_size)
        manifest = describe(prepared, {PREPARED: fingerprint(path)}, info, file_format, options)
        stored = store.publish(order.name, manifest, path, may_publish)
    warnings = prepared.report["warnings"]
    for warning in warnings:
        control.log("warning", warning)
    control.log("info", f"data set {stored.name} is sha256:{stored.digest}")
    counts = {"examples": len(prepared.parts), "classes": len(manifest.class_labels)}
    metrics = {**counts, "warnings": len(warnings)}
    return {"model": "", "metrics": {name: float(count) for name, count in metrics.items()}}


def make_ready(file_format: Format, task: str = "") -> None:
    """Import what reading will need, while there is memory for that."""
    _reader(file_format, task)
    if file_format not in ("npz", "images"):
        from trainer.preparation import tables

        tables.make_ready()


def read(path: Path, file_format: Format, options: PreparationOptions, tick: Tick) -> Examples:
    """The examples in a file of any format.

    Raises:
        InvalidArgument: the file is not of that format, or not of the task that was asked for.
    """
    examples = _reader(file_format, options.task)(path, options, tick)
    if options.task not in ("", examples.task):
        raise InvalidArgument(
            f"the file is for {examples.task}, not for {options.task}", field="options.task"
        )
    return examples


def arrange(examples: Examples, options: PreparationOptions) -> Prepared:
    """Examples in their parts, complete, and the report.

    Raises:
        InvalidArgument: values are missing, or a class has too few examples.
    """
    found = len(examples)
    if options.duplicates == "drop":
        examples = without_duplicates(examples)
    missing = count_missing(examples)
    check_missing(examples, missing, options)
    parts = assign(examples, options)
    report = write_report(examples, parts, missing, found - len(examples), options)
    return Prepared(examples, complete(examples, parts), parts, report)


def describe(
    prepared: Prepared,
    files: dict[str, FileInfo],
    upload: FileInfo,
    file_format: Format,
    options: PreparationOptions,
) -> DatasetManifest:
    """The `dataset.json` of what was prepared."""
    examples = prepared.examples
    return DatasetManifest(
        task=examples.task,
        summary=options.summary or _summary(prepared),
        source=options.source or f"uploaded as {_SOURCES[file_format]}",
        input_name=examples.input_name,
        input_shape=prepared.inputs.shape[1:],
        units=examples.units,
        value_range=examples.value_range,
        class_labels=examples.class_labels,
        split_sizes={part: int((prepared.parts == n).sum()) for part, n in _PARTS.items()},
        feature_names=examples.feature_names,
        files=files,
        upload=upload,
        format=file_format,
        options=options.model_dump(mode="json"),
        report=prepared.report,
    )


def _reader(file_format: Format, task: str) -> Callable[[Path, PreparationOptions, Tick], Examples]:
    """Imported when it is needed: each brings a library of its own."""
    match file_format:
        case "npz":
            from trainer.preparation.arrays import read_arrays

            return read_arrays
        case "images" if task == "segmentation":
            from trainer.preparation.masks import read_masks

            return read_masks
        case "images" if task == "captioning":
            from trainer.preparation.captions import read_captions

            return read_captions
        case "images":
            from trainer.preparation.images import read_images

            return read_images
        case "text" if task == "sequence-to-sequence":
            from trainer.preparation.sequences import read_pairs

            return read_pairs
        case "text" if task == "language-modelling":
            from trainer.preparation.sequences import read_documents

            return read_documents
        case "text":
            from trainer.preparation.writings import read_texts

            return read_texts
        case "csv" | "parquet":
            from trainer.preparation import columns, tables

            def read_table(path: Path, options: PreparationOptions, tick: Tick) -> Examples:
                label = () if options.task == "regression" else (options.label,)
                names = (*label, options.split, *options.categorical)
                table = (
                    tables.read_csv(path, options, texts=names)
                    if file_format == "csv"
                    else tables.read_parquet(path)
                )
                return columns.encode(table, options, tick)

            return read_table


def _write(path: Path, prepared: Prepared, seed: int) -> None:
    inputs, labels = prepared.inputs, prepared.examples.labels
    indices = members(prepared.parts, seed)
    try:
        write_prepared(
            path, {name: (inputs[indices[n]], labels[indices[n]]) for name, n in _PARTS.items()}
        )
    except OSError as error:
        raise translate(error, "write", path) from error


def _summary(prepared: Prepared) -> str:
    examples = prepared.examples
    if examples.task == "sequence-to-sequence":
        return f"{len(examples)} pairs of texts"
    if examples.task == "captioning":
        return f"{len(examples)} pictures and their captions"
    if examples.task == "language-modelling":
        return f"{len(examples)} documents"
    if not examples.has_classes:
        rows = f"rows of {len(examples.feature_names)} features"
        return f"{len(examples)} {rows if examples.feature_names else 'pictures'} and their values"
    what = {
        "image-classification": "pictures",
        "tabular-classification": f"rows of {len(examples.feature_names)} features",
        "text-classification": "texts",
        "segmentation": "pictures and masks",
    }[examples.task]
    return f"{len(examples)} {what} in {len(examples.class_labels)} classes"
