"""`wintergarden models …`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from wintergarden.cli.labels import changed, told
from wintergarden.cli.output import AsJson, ago, people, print_json, table, waiting
from wintergarden.cli.progress import metrics_line
from wintergarden.cli.session import HERE, Address, session
from wintergarden.client import IndexEntry, ModelLabels, ModelVersion

app = typer.Typer(help="List, show, import, label and delete models.", no_args_is_help=True)

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Its name.")]


@app.command("list")
def list_models(address: Address = HERE, as_json: AsJson = False) -> None:
    """List the models of the store and whether they are served.

    \b
    Example:
      wintergarden models list
    """
    with session(address) as client:
        models, index = client.models.list(), client.index()
    if as_json:
        print_json({"models": models, "index": index})
        return
    if not models:
        people.print("no models; `wintergarden train lenet5 mnist-5k` makes one")
        return
    served: dict[str, list[IndexEntry]] = defaultdict(list)
    for entry in index:
        served[entry.name].append(entry)
    listed = table("model", "versions", "task", "architecture", "served")
    for model in models:
        listed.add_row(
            model.name,
            ", ".join(str(version) for version in model.versions),
            model.task,
            model.architecture or model.problem,
            "; ".join(_served(entry) for entry in served[model.name]) or "no",
        )
    people.print(listed)


@app.command()
def show(
    name: ModelName,
    *,
    version: Annotated[int, typer.Option(min=0, help="0 is the latest.")] = 0,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Show a version: what goes in, what comes out, how good it is, where it comes from.

    \b
    Examples:
      wintergarden models show lenet5-mnist-5k
      wintergarden models show lenet5-mnist-5k --version 1 --json
    """
    with session(address) as client:
        model = client.models.describe(name, version=version)
    if as_json:
        print_json(model)
        return
    _tell(model)


@app.command("import")
def import_onnx(
    name: ModelName,
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A .onnx file.")],
    *,
    label: Annotated[
        list[str] | None, typer.Option(help="Name of an output class, in order; repeat it.")
    ] = None,
    value_range: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Valid values of the input, in its own units."),
    ] = None,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Serve an ONNX model that was trained anywhere.

    One self-contained file without custom operators. It becomes the next
    version of MODEL.

    \b
    Examples:
      wintergarden models import my-net my-net.onnx
      wintergarden models import pets pets.onnx --label cat --label dog --value-range 0 1
    """
    with session(address) as client, waiting(f"importing {path.name}", quiet=as_json):
        model = client.models.import_onnx(
            name, path, class_labels=label or (), value_range=value_range
        )
    if as_json:
        print_json(model)
        return
    _tell(model)


@app.command()
def delete(
    name: ModelName,
    *,
    version: Annotated[int, typer.Option(min=0, help="0 is every version.")] = 0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Delete a version, or a model with all its versions.

    Other graphs of the same network, NAME.forced and NAME.step, go with it.

    \b
    Examples:
      wintergarden models delete lenet5-mnist-5k --version 1
      wintergarden models delete lenet5-mnist-5k --yes
    """
    which = f"version {version} of {name}" if version else f"every version of {name}"
    if not yes:
        typer.confirm(f"Delete {which} for good?", abort=True, err=True)
    with session(address) as client:
        deleted = client.models.delete(name, version=version)
    if as_json:
        print_json({"name": name, "deleted_versions": deleted})
        return
    people.print(f"deleted {name}, versions {', '.join(map(str, deleted))}")


@app.command()
def label(
    name: ModelName,
    assignments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[LABEL=VERSION[:SHARE]]...",
            help="Labels to set, LABEL= to take one away; shadow=VERSION gets copies.",
        ),
    ] = None,
    *,
    clear: Annotated[
        bool, typer.Option("--clear", help="Take all labels away first: the latest answers.")
    ] = False,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Name versions, and share out the requests that name none.

    A request may name a label in place of a version. Shares make a split: what
    they leave goes to the label without one. Without a split, the latest version
    answers. A version with a label stays loaded and cannot be deleted.

    \b
    Examples:
      wintergarden models label lenet5-mnist-5k stable=3
      wintergarden models label lenet5-mnist-5k stable=3 canary=4:0.1 shadow=5
      wintergarden models label lenet5-mnist-5k stable=4:1 canary= shadow=
      wintergarden models label lenet5-mnist-5k --clear
    """
    with session(address) as client:
        labels = client.models.describe(name).labels
        if clear:
            labels = ModelLabels(revision=labels.revision)
        if clear or assignments:
            labels = client.models.label(name, changed(labels, assignments or ()))
    if as_json:
        print_json({"name": name, "labels": labels})
        return
    people.print(f"{name}: {escape(told(labels))}")


def _served(entry: IndexEntry) -> str:
    colour = "green" if entry.state == "READY" else "yellow"
    reason = f" ({escape(entry.reason)})" if entry.reason else ""
    return f"[{colour}]{entry.version} {entry.state.lower()}[/]{reason}"


def _tell(model: ModelVersion) -> None:
    manifest = model.manifest
    people.print(f"[bold]{model.name}[/] version {model.version}  {ago(model.created_at)}")
    verified = "replayed before it is served" if model.is_verified else "none: unverified"
    rows = {
        "digest": f"sha256 {model.digest}",
        "golden outputs": verified,
        "task": manifest.get("task", "unknown"),
        "architecture": manifest.get("architecture", "unknown"),
        "preprocessing": manifest.get("preprocessing") or "–",
        "classes": ", ".join(manifest.get("class_labels", ())) or "–",
        "metrics": metrics_line(manifest.get("metrics", {})) or "–",
        "labels": told(model.labels),
        "lineage": _lineage(manifest.get("lineage") or {}),
    }
    facts = table("", "")
    facts.show_header = False
    for name, value in rows.items():
        facts.add_row(f"[dim]{name}[/]", escape(str(value)))
    people.print(facts, "")
    tensors = table("tensor", "datatype", "shape", "units", "range", "meaning")
    for column in tensors.columns[:3]:
        column.no_wrap = True
    for kind in ("inputs", "outputs"):
        for tensor in manifest.get(kind, ()):
            low_high = tensor.get("value_range")
            tensors.add_row(
                f"{'→' if kind == 'inputs' else '←'} {tensor['name']}",
                tensor["datatype"],
                " × ".join("N" if size == -1 else str(size) for size in tensor["shape"]),
                escape(tensor.get("units") or "–"),
                f"{low_high[0]:g} to {low_high[1]:g}" if low_high else "–",
                escape(tensor.get("meaning") or "–"),
            )
    people.print(tensors)


def _lineage(lineage: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in lineage.items() if value) or "–"
