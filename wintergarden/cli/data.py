"""`wintergarden data …`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from wintergarden.cli.data_report import tell_dataset
from wintergarden.cli.output import AsJson, aside, people, print_json, table
from wintergarden.cli.session import HERE, Address, session
from wintergarden.cli.train import follow
from wintergarden.client import JobState
from wintergarden.client.datasets import OnProgress

app = typer.Typer(help="Upload, list, show and delete data sets.", no_args_is_help=True)

DatasetName = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]
Columns = list[str] | None


@app.command()
def upload(
    path: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="NPZ, CSV, TSV, Parquet or ZIP.")
    ],
    *,
    name: Annotated[str, typer.Option("--name", "-n", help="Default: the file's.")] = "",
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="npz, csv, parquet, images or text. Default: by the file's end.",
        ),
    ] = "",
    label: Annotated[str | None, typer.Option(help="Column of the classes.")] = None,
    text: Annotated[str | None, typer.Option(help="Column of the texts.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Column that says train, validation or test.")
    ] = None,
    drop: Annotated[Columns, typer.Option(help="Column to leave out; repeat it.")] = None,
    categorical: Annotated[
        Columns, typer.Option(help="Column of numbers that are names; repeat it.")
    ] = None,
    max_categories: Annotated[
        int | None, typer.Option(min=2, max=1024, help="Of one column. Default: 64.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="Between columns: , ; | or a tab.")] = None,
    impute: Annotated[
        bool, typer.Option("--impute", help="Fill in missing values; else they are refused.")
    ] = False,
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Keep one of each set of equal examples.")
    ] = False,
    validation: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the examples. Default: 0.1.")
    ] = None,
    test: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the examples. Default: 0.2.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the parts. Default: 0.")] = None,
    resize: Annotated[
        str, typer.Option(metavar="WIDTHxHEIGHT", help="Of pictures, such as 32x32.")
    ] = "",
    color: Annotated[str | None, typer.Option(help="Of pictures: auto, grey or rgb.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="What is expected, else refused; regression learns numbers, segmentation masks."
        ),
    ] = None,
    summary: Annotated[str | None, typer.Option(help="One line about it.")] = None,
    source: Annotated[str | None, typer.Option(help="Where it comes from.")] = None,
    units: Annotated[str | None, typer.Option(help="Of the inputs' values.")] = None,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Upload a file and make a data set of it; then `wintergarden train` takes its name.

    The file is validated and its examples are split into train, validation and
    test, each with the classes' proportions. What was found is shown. An upload
    that broke off goes on where it was.

    \b
    Layouts:
      CSV, TSV, Parquet  a column for the class, the others are features
      NPZ                x and y, or x_train, y_train, x_test, y_test
      ZIP of pictures    class/picture.png, or train/class/picture.png
      ZIP with masks     images/a.jpg, masks/a.png; with --task segmentation
      ZIP with captions  pictures and captions.csv (file_name, text); with --task captioning
      text               columns label and text, or a ZIP of class/text.txt
      pairs of texts     columns text and label, which is to be written
      a language         one text, or a ZIP of .txt; --task language-modelling
    \b
    Examples:
      wintergarden data upload flowers.csv --name flowers --label species
      wintergarden data upload passengers.parquet --label survived --drop name --impute
      wintergarden data upload pets.zip --resize 32x32 --color grey
      wintergarden data upload reviews.tsv --format text
      wintergarden data upload cells.zip --task segmentation --resize 64x64
      wintergarden data upload scenes.zip --task captioning --resize 64x64
      wintergarden data upload pairs.tsv --format text --task sequence-to-sequence --label french
      wintergarden data upload novels.zip --format text --task language-modelling
    """
    wishes: dict[str, Any] = {
        "label": label, "text": text, "split": split, "drop": drop, "categorical": categorical,
        "max_categories": max_categories, "delimiter": _delimiter(delimiter),
        "missing": "impute" if impute else None,
        "duplicates": "drop" if drop_duplicates else None,
        "validation": validation, "test": test, "seed": seed, **_size(resize), "color": color,
        "task": task, "summary": summary, "source": source, "units": units,
    }  # fmt: skip
    wishes = {option: value for option, value in wishes.items() if value is not None}
    name = name or path.name.split(".")[0]
    with session(address) as client:
        with _bar(path, quiet=as_json) as on_progress:
            handle = client.data.upload(
                path, name, format=format_, on_progress=on_progress, **wishes
            )
        job = follow(handle, as_json=as_json)
        if job.state is not JobState.SUCCEEDED:
            if as_json:
                print_json(job, indent=None)
            else:
                aside.print(f"[bold red]{job.state}[/] {escape(job.reason)}", soft_wrap=True)
            raise typer.Exit(1)
        dataset = client.data.describe(name)
    print_json(dataset, indent=None) if as_json else tell_dataset(dataset)


@app.command("list")
def list_datasets(address: Address = HERE, as_json: AsJson = False) -> None:
    """List the data sets: those of the trainers, and those that were uploaded.

    \b
    Example:
      wintergarden data list
    """
    with session(address) as client:
        datasets = client.data.list()
    if as_json:
        print_json({"datasets": datasets})
        return
    listed = table("data set", "task", "shape", "classes ›", "examples ›", "digest", "")
    for column in listed.columns[:-1]:
        column.no_wrap = True  # the summary gives way
    # Names are typed again: on a narrow terminal other columns are cut.
    listed.columns[0].min_width = max((len(dataset.name) for dataset in datasets), default=0)
    for dataset in datasets:
        listed.add_row(
            dataset.name,
            dataset.task.removesuffix("-classification"),
            " × ".join(str(size) for size in dataset.input_shape) or "–",
            str(len(dataset.class_labels)),
            str(sum(dataset.split_sizes.values())),
            dataset.digest[:12] or "–",
            escape(dataset.summary),
        )
    people.print(listed)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Its name, or sha256:DIGEST.")],
    *,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Show a data set: its classes and parts, its columns, and what was found in it.

    \b
    Examples:
      wintergarden data show flowers
      wintergarden data show flowers --json
    """
    with session(address) as client:
        dataset = client.data.describe(name)
    print_json(dataset) if as_json else tell_dataset(dataset)


@app.command()
def delete(
    name: DatasetName,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Delete a data set and the file it was made of.

    Models that were trained on it stay; their lineage still names its digest.

    \b
    Example:
      wintergarden data delete flowers --yes
    """
    if not yes:
        typer.confirm(f"Delete data set {name} for good?", abort=True, err=True)
    with session(address) as client:
        digest = client.data.delete(name)
    if as_json:
        print_json({"name": name, "digest": digest})
        return
    people.print(f"deleted {name}, sha256 {digest}")


@contextmanager
def _bar(path: Path, *, quiet: bool) -> Iterator[OnProgress]:
    """A bar of the bytes sent, on a terminal; it appears with the first of them."""
    if quiet or not aside.is_terminal:
        yield lambda sent, total: None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns, TransferSpeedColumn(), TimeRemainingColumn(), console=aside, transient=True
    ) as progress:
        bar = progress.add_task(f"uploading {escape(path.name)}", total=None)
        yield lambda sent, total: progress.update(bar, completed=sent, total=total)


def _size(text: str) -> dict[str, int]:
    """`32x24` → width 32, height 24."""
    if not text:
        return {}
    sides = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if sides is None:
        raise typer.BadParameter(f"--resize {text!r}: want WIDTHxHEIGHT, for example 32x32")
    return {"width": int(sides[1]), "height": int(sides[2])}


def _delimiter(text: str | None) -> str | None:
    return {"tab": "\t", "\\t": "\t"}.get(text, text) if text is not None else None
