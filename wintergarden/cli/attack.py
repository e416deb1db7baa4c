"""`wintergarden attack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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
from wintergarden.cli.infer import Invert, ModelName, Version
from wintergarden.cli.inputs import read_inputs
from wintergarden.cli.numbers import Settings, read_numbers
from wintergarden.cli.output import AsJson, people, print_json, table, waiting
from wintergarden.cli.pictures import PicturesDirectory, save_pictures
from wintergarden.cli.session import HERE, Address, session
from wintergarden.cli.train import Detach, Priority

_ROWS_SHOWN = 20
Norm = Annotated[
    Literal["linf", "l2"],
    typer.Option(help="What epsilon measures: each element (linf), or the whole row (l2)."),
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
            help="A .npy, .npz, .json or .png file; one example or a batch.",
        ),
    ] = None,
    *,
    epsilon: Annotated[
        float,
        typer.Option(
            "--epsilon",
            "-e",
            help="Largest change, in the input's own units; none for a method that looks for the "
            "smallest.",
        ),
    ] = 0.0,
    norm: Norm = "linf",
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
    """
    numbers = read_numbers(settings)
    with session(address) as client:
        chosen = read_examples(examples)
        if (path is None) == (chosen is None) or (chosen and not as_job):
            raise typer.BadParameter("name an input file, or with --job the model's --examples")
        described = client.models.describe(model, version=version)
        given = None
        if path is not None:
            given = next(iter(read_inputs(path, described.manifest, invert=invert).values()))
        if as_job:
            handle = client.jobs.attack(
                model,
                given,
                method,
                epsilon=epsilon,
                norm=norm,
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
        + ("largest change" if result.norm == "linf" else "length")
    )
    distances = result.distances_linf if result.norm == "linf" else result.distances_l2
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
    for file in saved:
        people.print(f"wrote {file}")
