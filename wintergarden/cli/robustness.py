"""`wintergarden robustness` and `wintergarden harden`: accuracy under attack, and more of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from wintergarden.cli.attack import Method, Norm
from wintergarden.cli.explanation_jobs import AsJob, RequestId, job_options, see_to_its_end
from wintergarden.cli.infer import ModelName, Version
from wintergarden.cli.numbers import Settings, read_numbers
from wintergarden.cli.output import AsJson, people, print_json, table, waiting
from wintergarden.cli.pictures import PicturesDirectory, save_pictures
from wintergarden.cli.session import HERE, Address, session
from wintergarden.cli.train import Detach, Parameters, Priority, assignment, follow, tell_end
from wintergarden.client import JobState, ModelVersion, Robustness
from wintergarden.errors import Unsupported

# Of the radius that is trained for: where it holds, where it begins to fail, and what it costs.
_RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
MaxExamples = Annotated[int, typer.Option(min=0, help="At most so many held-out examples; 0: all.")]


def robustness(
    model: ModelName,
    *,
    epsilon: Annotated[
        list[float] | None,
        typer.Option(
            "--epsilon", "-e", help="A radius in the input's own units; repeat it for a curve."
        ),
    ] = None,
    norm: Norm = None,
    method: Method = "fgsm",
    settings: Settings = None,
    examples: MaxExamples = 0,
    beside: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Another model, attacked over the same examples: one trained adversarially, say.",
        ),
    ] = "",
    version: Version = 0,
    pictures: PicturesDirectory = None,
    as_job: AsJob = False,
    priority: Priority = 0,
    request_id: RequestId = "",
    detach: Detach = False,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Measure accuracy under attack over the model's own held-out examples.

    \b
    Examples:
      wintergarden robustness lenet5-mnist-5k
      wintergarden robustness lenet5-mnist-5k -m pgd --set steps=20 --pictures demo
      wintergarden robustness lenet5-mnist-5k -e 0 -e 0.1 -e 0.2 -e 0.3 --pictures demo
      wintergarden robustness lenet5-mnist-5k --beside hardened -m pgd --pictures demo
    """
    numbers = read_numbers(settings)
    if as_job and beside:
        raise typer.BadParameter("--beside compares at once; submit a --job for each model")
    with session(address) as client:
        if as_job:
            handle = client.jobs.robustness(
                model,
                method,
                epsilons=epsilon or (),
                norm=norm,
                parameters=numbers,
                version=version,
                max_examples=examples,
                render=pictures is not None,
                **job_options(priority, request_id),
            )
            see_to_its_end(handle, detach=detach, as_json=as_json, pictures=pictures)
            return
        with waiting(f"{method} on {model}", quiet=as_json):
            result = client.robustness(
                model,
                method,
                epsilons=epsilon or (),
                norm=norm,
                parameters=numbers,
                version=version,
                max_examples=examples,
                beside=beside,
                render=pictures is not None,
            )
    _tell(result, pictures, as_json=as_json)


def harden(
    model: ModelName,
    *,
    epsilon: Annotated[
        float,
        typer.Option(
            "--epsilon", "-e", min=0, help="Radius to hold out against, in the input's own units."
        ),
    ],
    steps: Annotated[
        int,
        typer.Option(min=1, help="Of the attack in training: 1 is FGSM, more is PGD and as slow."),
    ] = 1,
    parameter: Parameters = None,
    into: Annotated[
        str, typer.Option(metavar="MODEL", help="Name to publish under. Default: MODEL-hardened.")
    ] = "",
    method: Method = "pgd",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--attack-set", metavar="NAME=NUMBER", help="A parameter of the method; repeatable."
        ),
    ] = None,
    examples: MaxExamples = 0,
    version: Version = 0,
    pictures: PicturesDirectory = None,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Train a model once more, on attacked examples, and measure what that gains.

    The same architecture, data, hyperparameters and seed, trained within a
    radius of its examples (Madry et al. 2018); then both models are attacked
    over the same held-out examples, at radii up to twice that one.

    \b
    Examples:
      wintergarden harden lenet5-mnist-5k -e 0.2 --pictures demo
      wintergarden harden lenet5-mnist-5k -e 0.2 --steps 7 --set epochs=40
      wintergarden harden lenet5-mnist-5k -e 0.2 -m fgsm --examples 200 --json
    """
    hardened, numbers = into or f"{model}-hardened", read_numbers(settings)
    with session(address) as client:
        origin = client.models.describe(model, version=version)
        spec = training_of(origin) | {"adversarial_epsilon": epsilon, "adversarial_steps": steps}
        spec |= dict(assignment(text, "--set") for text in parameter or ())
        manifest, lineage = origin.manifest, origin.manifest["lineage"]
        handle = client.train(
            manifest["architecture"],
            lineage["dataset"],
            spec,
            model=hardened,
            seed=lineage["seed"] or 0,
        )
        job = handle.wait() if as_json else follow(handle)
        if not as_json or job.state is not JobState.SUCCEEDED:
            tell_end(job, as_json=as_json)
        with waiting(f"{method} on {model} and {hardened}", quiet=as_json):
            result = client.robustness(
                model,
                method,
                epsilons=[share * epsilon for share in _RADII],
                parameters=numbers,
                version=origin.version,
                max_examples=examples,
                beside=hardened,
                render=pictures is not None,
            )
    _tell(result, pictures, as_json=as_json)


def training_of(model: ModelVersion) -> dict[str, Any]:
    """The hyperparameters that the model was trained with.

    Raises:
        Unsupported: it was not trained here, or is of no kind that is trained adversarially.
    """
    manifest = model.manifest
    hyperparameters = dict(manifest.get("hyperparameters") or {})
    if not manifest.get("architecture") or not (manifest.get("lineage") or {}).get("dataset"):
        raise Unsupported(
            f"model {model.name!r} was not trained here, so it cannot be trained again; "
            "`wintergarden robustness` measures it all the same"
        )
    if "adversarial_epsilon" not in hyperparameters:
        raise Unsupported(
            f"{manifest['architecture']} is not trained adversarially; image classifiers are: "
            "`wintergarden train --list` shows which have adversarial_epsilon"
        )
    return hyperparameters


def _tell(result: Robustness, pictures: Path | None, *, as_json: bool) -> None:
    saved = save_pictures(result.pictures, pictures)
    if as_json:
        print_json(vars(result) | {"pictures": saved})
        return
    people.print(
        f"[bold]{result.model.name}[/] version {result.model.version}, {result.method}, "
        f"{result.examples} held-out examples"
    )
    others = result.accuracies_beside
    heading = f"ε ({result.units or 'input units'}) ›"
    if result.beside is None or others is None:
        listed = table(heading, "accuracy ›", "")
    else:
        listed = table(heading, "accuracy ›", "", f"{escape(result.beside.name)} ›", "")
    for index, (radius, accuracy) in enumerate(
        zip(result.epsilons, result.accuracies, strict=True)
    ):
        cells = [f"{radius:g}", f"{accuracy:.1%}", "█" * round(20 * accuracy)]
        if others is not None:
            cells += [f"{others[index]:.1%}", "[green]" + "█" * round(20 * others[index]) + "[/]"]
        listed.add_row(*cells)
    people.print(listed)
    for file in saved:
        people.print(f"wrote {file}")
