"""`wintergarden attack` and `wintergarden robustness`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape

from wintergarden.cli.infer import InputFile, Invert, ModelName, Version
from wintergarden.cli.inputs import read_inputs
from wintergarden.cli.output import AsJson, people, print_json, table, waiting
from wintergarden.cli.pictures import PicturesDirectory, save_pictures
from wintergarden.cli.session import HERE, Address, session

_ROWS_SHOWN = 20
Method = Annotated[
    str, typer.Option("--method", "-m", help="`wintergarden explain --list` shows them.")
]


def attack(
    model: ModelName,
    path: InputFile,
    *,
    epsilon: Annotated[
        float,
        typer.Option(
            "--epsilon",
            "-e",
            help="Largest change of any element (L-infinity), in the input's own units.",
        ),
    ],
    method: Method = "fgsm",
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
        Path | None, typer.Option(dir_okay=False, help="Write the adversarial input as .npy.")
    ] = None,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Change an input so little that nobody minds, and see what the model says.

    The changed input never leaves the model's valid range.

    \b
    Examples:
      wintergarden attack lenet5-mnist-5k digit.png --epsilon 0.2 --pictures demo
      wintergarden attack lenet5-mnist-5k digit.png -e 0.2 --label 7 --target 1
      wintergarden attack mlp-digits samples.npy -e 0.1 --save adversarial.npy --json
    """
    with session(address) as client:
        described = client.models.describe(model, version=version)
        inputs = read_inputs(path, described.manifest, invert=invert)
        with waiting(f"{method} on {model}", quiet=as_json):
            result = client.attack(
                model,
                next(iter(inputs.values())),
                method,
                epsilon_linf=epsilon,
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
        f"ε = {result.epsilon_linf:g} {result.units}"
    )
    listed = table("row ›", "before", "after", "largest change ›", "")
    rows = zip(
        result.predictions_before,
        result.confidences_before,
        result.predictions_after,
        result.confidences_after,
        result.distances_linf,
        result.successes,
        strict=True,
    )
    for number, (was, sure, now, now_sure, distance, succeeded) in enumerate(rows):
        if number == _ROWS_SHOWN:
            break
        listed.add_row(
            str(number),
            f"{name(was)} [dim]{sure:.1%}[/]",
            f"{name(now)} [dim]{now_sure:.1%}[/]",
            f"{distance:.4g}",
            "[red]fooled[/]" if succeeded else "[green]held[/]",
        )
    people.print(listed)
    people.print(f"{sum(result.successes)} of {len(result.successes)} fooled")
    for file in saved:
        people.print(f"wrote {file}")


def robustness(
    model: ModelName,
    *,
    epsilon: Annotated[
        list[float] | None,
        typer.Option(
            "--epsilon", "-e", help="A radius in the input's own units; repeat it for a curve."
        ),
    ] = None,
    method: Method = "fgsm",
    examples: Annotated[
        int, typer.Option(min=0, help="At most so many held-out examples; 0: all.")
    ] = 0,
    version: Version = 0,
    pictures: PicturesDirectory = None,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Measure accuracy under attack over the model's own held-out examples.

    \b
    Examples:
      wintergarden robustness lenet5-mnist-5k
      wintergarden robustness lenet5-mnist-5k -e 0 -e 0.1 -e 0.2 -e 0.3 --pictures demo
    """
    with session(address) as client, waiting(f"{method} on {model}", quiet=as_json):
        result = client.robustness(
            model,
            method,
            epsilons_linf=epsilon or (),
            version=version,
            max_examples=examples,
            render=pictures is not None,
        )
    saved = save_pictures(result.pictures, pictures)
    if as_json:
        print_json(vars(result) | {"pictures": saved})
        return
    people.print(
        f"[bold]{result.model.name}[/] version {result.model.version}, {result.method}, "
        f"{result.examples} held-out examples"
    )
    listed = table(f"ε ({result.units or 'input units'}) ›", "accuracy ›", "")
    for radius, accuracy in zip(result.epsilons_linf, result.accuracies, strict=True):
        listed.add_row(f"{radius:g}", f"{accuracy:.1%}", "█" * round(30 * accuracy))
    people.print(listed)
    for file in saved:
        people.print(f"wrote {file}")
