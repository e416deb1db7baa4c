"""`wintergarden search`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from wintergarden.cli.output import AsJson, people, print_json
from wintergarden.cli.session import HERE, Address, session
from wintergarden.cli.train import Detach, Parameters, Priority, assignment, follow, tell_end
from wintergarden.client import SearchOptions

_EXAMPLE = "learning_rate=float:1e-4:0.1:log"


def search(
    architecture: Annotated[str, typer.Argument(help="What to train, for example lenet5.")],
    dataset: Annotated[str, typer.Argument(help="What to train it on, for example mnist-5k.")],
    *,
    over: Annotated[
        list[str],
        typer.Option(
            "--over",
            "-o",
            metavar="NAME=RANGE",
            help="What to search: float:LOW:HIGH[:log], int:LOW:HIGH[:STEP|:log], choice:A,B,…",
        ),
    ],
    parameter: Parameters = None,
    trials: Annotated[int, typer.Option(min=1, help="At most.")] = 20,
    parallel: Annotated[int, typer.Option(min=1, help="At once, at most.")] = 2,
    metric: Annotated[
        str, typer.Option(help="What trainings report after each epoch, to be made best.")
    ] = "validation_accuracy",
    minimize: Annotated[bool, typer.Option(help="Less of it is better.")] = False,
    pruning: Annotated[
        str, typer.Option(help="Gives hopeless trials up early: median, hyperband or none.")
    ] = "median",
    model: Annotated[
        str, typer.Option(help="Name of the best one. Default: ARCHITECTURE-DATASET.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Of the trials and of the search's choices.")] = 0,
    priority: Priority = 0,
    promote: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="Of the best one, as of `wintergarden train`."),
    ] = None,
    detach: Detach = False,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Search for the best hyperparameters, and publish the best model.

    Each trial is a job of its own: `wintergarden jobs list --parent JOB` lists
    them, and cancelling the search cancels them.

    \b
    Examples:
      wintergarden search lenet5 mnist-5k -o learning_rate=float:1e-4:0.1:log
      wintergarden search mlp wine -o optimizer=choice:adam,sgd -o epochs=int:20:80:20
    """
    options = SearchOptions(
        trials=trials,
        parallel=parallel,
        metric=metric,
        minimize=minimize,
        pruning=pruning,
        model=model,
        seed=seed,
        priority=priority,
        promote=promote or (),
    )
    with session(address) as client:
        handle = client.search(
            architecture,
            dataset,
            dict(_range(text) for text in over),
            dict(assignment(text, "--set") for text in parameter or ()),
            **options,
        )
        if detach:
            print_json(handle.job) if as_json else people.print(handle.id)
            return
        job = follow(handle, as_json=as_json)
    tell_end(job, as_json=as_json)


def _range(text: str) -> tuple[str, dict[str, Any]]:
    """`learning_rate=float:1e-4:0.1:log` → its name, and the range as the server takes it."""
    name, _, given = text.partition("=")
    kind, _, rest = given.partition(":")
    parts = rest.split(":")
    try:
        match kind, parts:
            case "choice", _ if rest:
                return name, {"type": kind, "choices": _choices(rest)}
            case (("float" | "int"), [low, high, *more]) if len(more) < 2:
                convert = float if kind == "float" else int
                found = {"type": kind, "low": convert(low), "high": convert(high)}
                if more == ["log"]:
                    found["log"] = True
                elif more and kind == "int":
                    found["step"] = int(more[0])
                elif more:
                    raise ValueError(f"{more[0]!r} is no log")
                return name, found
    except ValueError as error:
        raise typer.BadParameter(f"--over {text!r}: {error}") from error
    raise typer.BadParameter(f"--over {text!r}: want NAME=RANGE, for example {_EXAMPLE}")


def _choices(text: str) -> list[Any]:
    """JSON values where they are, else words between commas."""
    try:
        choices: list[Any] = json.loads(f"[{text}]")
    except json.JSONDecodeError:
        return text.split(",")
    return choices
