"""`wintergarden explain`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

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
from wintergarden.cli.infer import Invert, Texts, Version
from wintergarden.cli.inputs import given_inputs
from wintergarden.cli.numbers import Settings, read_numbers
from wintergarden.cli.output import AsJson, people, print_json, table, waiting
from wintergarden.cli.pictures import (
    PicturesDirectory,
    coloured_text,
    heat_map,
    save_pictures,
)
from wintergarden.cli.regions import RegionText, read_region
from wintergarden.cli.session import HERE, Address, session
from wintergarden.cli.train import Detach, Priority
from wintergarden.client import Client, Explanation
from wintergarden.client.explanation import Parameter
from wintergarden.text import PADDING, Vocabulary

_ROWS_SHOWN = 3
_PLAYERS_SHOWN = 10


def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Its name.")] = "",
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
    method: Annotated[
        str, typer.Option("--method", "-m", help="--list shows them.")
    ] = "kernel_shap",
    target: Annotated[
        list[int] | None,
        typer.Option(help="Index of the class explained: one for all rows, or one each."),
    ] = None,
    grid: Annotated[
        str, typer.Option(metavar="ROWSxCOLUMNS", help="Superpixels of a picture.")
    ] = "",
    evaluations: Annotated[
        int,
        typer.Option(
            min=0,
            help="Model rows per explained row, of kernel_shap and of automatic steps; 0: the "
            "server's default.",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    settings: Settings = None,
    layer: Annotated[
        str,
        typer.Option(help="Inner tensor for grad_cam and conductances; default: the last map."),
    ] = "",
    region: RegionText = "",
    input_name: Annotated[
        str,
        typer.Option("--input", help="Of several inputs in a .npz file the explained one."),
    ] = "",
    version: Version = 0,
    invert: Invert = False,
    pictures: PicturesDirectory = None,
    save: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the numbers to this .npz file.")
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 300.0,
    as_job: AsJob = False,
    examples: Examples = "",
    priority: Priority = 0,
    request_id: RequestId = "",
    detach: Detach = False,
    methods: Annotated[bool, typer.Option("--list", "-l", help="List the methods.")] = False,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Say which parts of an input made the model answer as it does.

    SHAP values add up: base value + their sum = the output, but for the
    efficiency gap that is printed with them. The base value is the output
    at the mean background image, or for tables the mean output over the
    model's background sample.

    Of a segmentation the mean of a class over a --region of pixels is
    explained, by default where the class is predicted; of a sequence with
    an answer at each position, the last one.

    \b
    Examples:
      wintergarden explain --list
      wintergarden explain lenet5-mnist-5k digit.png --pictures demo
      wintergarden explain lenet5-mnist-5k digit.png --grid 4x3 --target 7
      wintergarden explain mlp-wine wine.json --evaluations 4096 --json
      wintergarden explain lenet5-mnist-5k digit.png --method saliency
      wintergarden explain textcnn-languages --text "Guten Morgen" -p demo
      wintergarden explain segnet-digit-masks scene.png --target 1
      wintergarden explain segnet-digit-masks scene.png --region 20:40,10:30
      wintergarden explain lenet5-mnist-5k --job --examples 0:500 --save values.npz
    """
    players, where = _grid(grid), read_region(region)
    numbers = read_numbers(settings)
    with session(address) as client:
        if methods:
            _list(client, as_json)
            return
        chosen = read_examples(examples)
        sources = sum((path is not None, bool(text), chosen is not None))
        if not model or sources != 1 or (chosen and not as_job):
            raise typer.BadParameter(
                "name a model and an input file, or --text, or with --job its --examples; "
                "see --help"
            )
        described = client.models.describe(model, version=version)
        given, context = None, {}
        if chosen is None:
            context = given_inputs(path, text, described.manifest, invert=invert)
            input_name = input_name or described.manifest["inputs"][0]["name"]
            if input_name not in context:
                raise typer.BadParameter(f"--input {input_name}: there are {', '.join(context)}")
            given = context.pop(input_name)
        if as_job:
            handle = client.jobs.explain(
                model,
                given,
                method,
                examples=chosen,
                version=version,
                targets=target or (),
                players=players,
                max_evaluations=evaluations,
                seed=seed,
                parameters=numbers,
                layer=layer,
                region=where,
                input_name=input_name,
                context=context,
                render=pictures is not None,
                **job_options(priority, request_id),
            )
            see_to_its_end(handle, detach=detach, as_json=as_json, pictures=pictures, save=save)
            return
        with waiting(f"{method} on {model}", quiet=as_json):
            explanation = client.explain(
                model,
                () if given is None else given,
                method,
                version=version,
                targets=target or (),
                players=players,
                max_evaluations=evaluations,
                seed=seed,
                parameters=numbers,
                layer=layer,
                region=where,
                input_name=input_name,
                context=context,
                render=pictures is not None,
                timeout_s=timeout_s,
            )
    if save:
        np.savez(
            save,
            allow_pickle=False,
            attributions=explanation.attributions,
            player_values=explanation.player_values,
            standard_errors=explanation.standard_errors,
            base_values=explanation.base_values,
            regions=explanation.regions,
        )
    saved = save_pictures(explanation.pictures, pictures)
    if as_json:
        print_json(vars(explanation) | {"pictures": saved})
        return
    _tell(explanation, described.manifest, given)
    for file in saved:
        people.print(f"wrote {file}")


def _grid(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    if not (match := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)):
        raise typer.BadParameter(f"--grid {text!r}: want ROWSxCOLUMNS, for example 7x7")
    return int(match.group(1)), int(match.group(2))


def _list(client: Client, as_json: bool) -> None:
    found = client.explanation_methods()
    if as_json:
        print_json(found)
        return
    listed = table("method", "kind", "gradient", "", "source")
    for method in found:
        needs = "needed" if method.needs_gradient else "–"
        listed.add_row(
            method.name,
            method.kind,
            needs,
            "\n".join([escape(method.summary), *map(_parameter, method.parameters)]),
            f"[dim]{escape(method.source)}[/]",
        )
    people.print(listed)


def _parameter(p: Parameter) -> str:
    allowed = f"{p.least:g} to {p.most:g}"
    return f"  [dim]{p.name}={p.default:g} ({allowed}): {escape(p.summary)}[/]"


def _tell(
    explanation: Explanation, manifest: Mapping[str, Any], given: np.ndarray[Any, Any] | None
) -> None:
    model = explanation.model
    kind = "exact" if explanation.is_exact else f"seed {explanation.seed}"
    people.print(
        f"[bold]{model.name}[/] version {model.version}, {explanation.method}, {kind}, "
        f"{explanation.evaluations} evaluations"
    )
    if explanation.background:
        people.print(f"[dim]background: {escape(explanation.background)}[/]")
    labels = manifest.get("class_labels") or []
    for row, target in enumerate(explanation.targets[:_ROWS_SHOWN]):
        label = labels[target] if target < len(labels) else str(target)
        people.print(
            f"\nrow {row}: {explanation.output_space} of class [bold]{escape(label)}[/]"
            f"{_where(explanation, row)}"
        )
        if explanation.base_values.size:
            _tell_sum(explanation, row)
        if explanation.player_values.size and not manifest.get("vocabulary"):
            _tell_players(explanation, row)
        attribution = explanation.attributions[row]
        if attribution.ndim == 3:
            _draw(attribution.sum(axis=0))
        if given is not None and manifest.get("vocabulary") and attribution.ndim == 1:
            _tell_text(manifest, given[row], attribution)
    if len(explanation.targets) > _ROWS_SHOWN:
        people.print(f"… and {len(explanation.targets) - _ROWS_SHOWN} more rows; --json or --save")


def _where(explanation: Explanation, row: int) -> str:
    if not explanation.regions.size:
        return ""
    region = explanation.regions[row]
    return f", mean over {int(region.sum())} of {region.size} places"


def _tell_text(
    manifest: Mapping[str, Any], ids: np.ndarray[Any, Any], values: np.ndarray[Any, Any]
) -> None:
    """The tokens in colours, and those with the largest values."""
    vocabulary = Vocabulary.from_fields(manifest["vocabulary"])
    length = int(np.flatnonzero(ids != PADDING).max(initial=-1)) + 1
    tokens = vocabulary.decode(ids[:length].tolist())
    is_spaced = vocabulary.is_spaced
    people.print(coloured_text(tokens, values[:length], is_spaced=is_spaced))
    listed = table("  token", "value ›")
    for place in np.argsort(-np.abs(values[:length]))[:_PLAYERS_SHOWN]:
        listed.add_row(f"  {escape(repr(tokens[place]))} [dim]{place}[/]", f"{values[place]:+.4f}")
    people.print(listed)


def _tell_sum(explanation: Explanation, row: int) -> None:
    has_players = bool(explanation.player_values.size)
    parts = explanation.player_values if has_players else explanation.attributions
    what = "players" if has_players else "elements"
    people.print(
        f"  {explanation.base_values[row]:+.4f} base  {parts[row].sum():+.4f} {what}  "
        f"= {explanation.outputs[row]:+.4f}  [dim](gap {explanation.efficiency_gaps[row]:.1e})[/]"
    )


def _tell_players(explanation: Explanation, row: int) -> None:
    values, errors = explanation.player_values[row], explanation.standard_errors[row]
    listed = table("  player ›", "value ›", "± ›", "")
    limit = float(np.abs(values).max()) or 1.0
    for player in np.argsort(-np.abs(values))[:_PLAYERS_SHOWN]:
        colour = "red" if values[player] >= 0 else "blue"
        bar = "█" * max(1, round(20 * abs(values[player]) / limit))
        listed.add_row(
            str(player), f"{values[player]:+.4f}", f"{errors[player]:.4f}", f"[{colour}]{bar}[/]"
        )
    people.print(listed)


def _draw(attribution: np.ndarray[Any, Any]) -> None:
    """A picture's attribution (H, W), as coarse as the terminal needs it."""
    if not people.is_terminal:
        return
    step = max(1, -(-attribution.shape[0] // 28))
    coarse = attribution[::step, ::step]
    for line in heat_map(coarse, float(np.abs(coarse).max()) or 1.0):
        people.print(line)
