"""`wintergarden attack`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.markup import escape

from wintergarden.cli.explanation_jobs import (
    AsJob,
    Examples,
    RequestId,
    job_options,
    read_examples,
    see_to_its_end,
)
from wintergarden.cli.infer import Invert, ModelName, Texts, Version
from wintergarden.cli.inputs import given_inputs
from wintergarden.cli.numbers import Settings, read_numbers
from wintergarden.cli.output import AsJson, people, print_json, table, waiting
from wintergarden.cli.pictures import PicturesDirectory, save_pictures
from wintergarden.cli.session import HERE, Address, session
from wintergarden.cli.train import Detach, Priority
from wintergarden.text import Vocabulary

_ROWS_SHOWN = 20
_MEASURES = {"linf": "largest change", "l2": "length", "l0": "how many are others"}
Norm = Annotated[
    Literal["linf", "l2", "l0"] | None,
    typer.Option(
        help="What epsilon measures: each element (linf), the whole row (l2), or how many tokens "
        "or groups are others (l0).  [default: linf; of hotflip l0]",
        show_default=False,
    ),
]
Method = Annotated[
    str, typer.Option("--method", "-m", help="`wintergarden explain --list` shows them.")
]


def attack(
    model: ModelName,
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="INPUT",
            exists=True,
            dir_okay=False,
            help="A .npy, .npz, .json or .png file, one example or a batch; a .txt file of lines.",
        ),
    ] = None,
    *,
    text: Texts = None,
    epsilon: Annotated[
        float,
        typer.Option(
            "--epsilon",
            "-e",
            help="Largest change, in the input's own units; none for a method that looks for the "
            "smallest; of hotflip how many tokens or groups.",
        ),
    ] = 0.0,
    norm: Norm = None,
    method: Method = "fgsm",
    settings: Settings = None,
    label: Annotated[
        list[int] | None,
        typer.Option(help="The true class: one for all rows, or one each. Default: the predicted."),
    ] = None,
    target: Annotated[
        list[int] | None,
        typer.Option(help="The class to be seen instead: one for all rows, or one each."),
    ] = None,
    one_of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMNS",
            help="Columns of a table of which one is 1 and the others are 0, such as 3,4,5; repeat "
            "it. hotflip moves the one, other methods leave them alone.",
        ),
    ] = None,
    version: Version = 0,
    invert: Invert = False,
    pictures: PicturesDirectory = None,
    save: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write the adversarial input as .npy; of a job, .npz."),
    ] = None,
    as_job: AsJob = False,
    examples: Examples = "",
    priority: Priority = 0,
    request_id: RequestId = "",
    detach: Detach = False,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Change an input so little that nobody minds, and see what the model says.

    The changed input never leaves the model's valid range.

    \b
    Examples:
      wintergarden attack lenet5-mnist-5k digit.png --epsilon 0.2 --pictures demo
      wintergarden attack lenet5-mnist-5k digit.png -e 0.2 --label 7 --target 1
      wintergarden attack lenet5-mnist-5k digit.png -m pgd -e 1.5 --norm l2 --set steps=100
      wintergarden attack lenet5-mnist-5k digit.png -m deepfool --norm l2 --pictures demo
      wintergarden attack mlp-digits samples.npy -e 0.1 --save adversarial.npy --json
      wintergarden attack lenet5-mnist-5k --job --examples 0:500 -e 0.2 --save moved.npz
      wintergarden attack textcnn-languages -m hotflip -e 5 --text "ein Haus am See"
      wintergarden attack customers rows.npy -m hotflip -e 1 --one-of 3,4,5 --one-of 6,7
    """
    numbers, groups = read_numbers(settings), [_columns(group) for group in one_of or ()]
    with session(address) as client:
        chosen = read_examples(examples)
        sources = sum((path is not None, bool(text), chosen is not None))
        if sources != 1 or (chosen and not as_job):
            raise typer.BadParameter(
                "name an input file or --text, or with --job the model's --examples"
            )
        described = client.models.describe(model, version=version)
        given = None
        if chosen is None:
            inputs = given_inputs(path, text, described.manifest, invert=invert)
            given = next(iter(inputs.values()))
        if as_job:
            handle = client.jobs.attack(
                model,
                given,
                method,
                epsilon=epsilon,
                norm=norm,
                one_of=groups,
                parameters=numbers,
                examples=chosen,
                version=version,
                labels=label or (),
                targets=target or (),
                render=pictures is not None,
                **job_options(priority, request_id),
            )
            see_to_its_end(handle, detach=detach, as_json=as_json, pictures=pictures, save=save)
            return
        with waiting(f"{method} on {model}", quiet=as_json):
            result = client.attack(
                model,
                () if given is None else given,
                method,
                epsilon=epsilon,
                norm=norm,
                one_of=groups,
                parameters=numbers,
                version=version,
                labels=label or (),
                targets=target or (),
                render=pictures is not None,
            )
    if save:
        np.save(save, result.adversarial, allow_pickle=False)
    saved = save_pictures(result.pictures, pictures)
    if as_json:
        print_json(vars(result) | {"pictures": saved})
        return
    labels = described.manifest.get("class_labels") or []

    def name(index: int) -> str:
        return escape(labels[index]) if index < len(labels) else str(index)

    people.print(
        f"[bold]{result.model.name}[/] version {result.model.version}, {result.method}, "
        + (f"ε = {result.epsilon:g} {result.units}, " if result.epsilon else "")
        + _MEASURES[result.norm]
    )
    distances = getattr(result, f"distances_{result.norm}")
    listed = table("row ›", "before", "after", "change ›", "runs ›", "")
    rows = zip(
        result.predictions_before,
        result.confidences_before,
        result.predictions_after,
        result.confidences_after,
        distances,
        result.queries + result.gradients,
        result.successes,
        strict=True,
    )
    for number, (was, sure, now, now_sure, distance, runs, succeeded) in enumerate(rows):
        if number == _ROWS_SHOWN:
            break
        listed.add_row(
            str(number),
            f"{name(was)} [dim]{sure:.1%}[/]",
            f"{name(now)} [dim]{now_sure:.1%}[/]",
            f"{distance:.4g}",
            str(runs),
            "[red]fooled[/]" if succeeded else "[green]held[/]",
        )
    people.print(listed)
    people.print(f"{sum(result.successes)} of {len(result.successes)} fooled")
    if result.norm == "l0" and given is not None and described.manifest.get("vocabulary"):
        _tell_texts(given, result.adversarial, described.manifest)
    for file in saved:
        people.print(f"wrote {file}")


def _columns(text: str) -> list[int]:
    try:
        return [int(column) for column in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"--one-of {text}: wanted are numbers of columns, such as 3,4,5"
        ) from error


def _tell_texts(rows: Any, moved: Any, manifest: Mapping[str, Any]) -> None:
    """Each text with what was flipped: the old token struck out, the new one behind it."""
    vocabulary = Vocabulary.from_fields(manifest["vocabulary"])
    space = " " if vocabulary.is_spaced else ""
    for before, after in list(zip(rows, moved, strict=True))[:_ROWS_SHOWN]:
        said = []
        for old, new in zip(
            vocabulary.decode(before.tolist()), vocabulary.decode(after.tolist()), strict=True
        ):
            flip = f"[red strike]{escape(old)}[/][green]{escape(new)}[/]"
            said.append(flip if old != new else escape(new))
        people.print(space.join(said).rstrip())
