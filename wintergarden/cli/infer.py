"""`wintergarden infer`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from wintergarden.cli.inputs import given_inputs
from wintergarden.cli.output import AsJson, people, print_json, table
from wintergarden.cli.pictures import PicturesDirectory
from wintergarden.cli.session import HERE, Address, session
from wintergarden.cli.written import save_attention, tell, texts
from wintergarden.errors import InvalidArgument

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Its name.", show_default=False)]
InputFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="INPUT",
        exists=True,
        dir_okay=False,
        show_default=False,
        help="A .npy, .npz, .json or .png file, one example or a batch; a .txt file of lines.",
    ),
]
Texts = Annotated[
    list[str] | None,
    typer.Option("--text", metavar="TEXT", help="In place of a file, for a text model; repeat it."),
]
Version = Annotated[int, typer.Option(min=0, help="0 is the latest.")]
Invert = Annotated[
    bool, typer.Option("--invert", help="Swap dark and light of a picture: ink on paper.")
]
_ROWS_SHOWN = 10


def infer(
    model: ModelName,
    path: InputFile = None,
    *,
    text: Texts = None,
    version: Version = 0,
    output: Annotated[
        list[str] | None, typer.Option("--output", "-o", help="Only this output; repeat it.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="So many classes per row.")] = 3,
    invert: Invert = False,
    save: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the outputs to this .npz file.")
    ] = None,
    pictures: PicturesDirectory = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 30.0,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Ask a served model.

    A picture is resized to the model's input and scaled from 0–255 into its
    value range; arrays go as they are, with a batch axis added to a single
    example. Texts become token ids by the model's own vocabulary, and token ids
    that it writes become texts; --pictures shows where it looked meanwhile.

    \b
    Examples:
      wintergarden infer lenet5-mnist-5k digit.png
      wintergarden infer lenet5-mnist-5k scan.png --invert --top 1
      wintergarden infer mlp-wine samples.npy --json
      echo '[[13.2, 1.8, 2.4, 15, 104, 2.8, 3, 0.3, 2, 6.5, 1, 3, 1100]]' > wine.json
      wintergarden infer mlp-wine wine.json --save answers.npz
      wintergarden infer textcnn-languages --text "Guten Morgen" --text "Buenos días"
      wintergarden infer bahdanau-dates --text "4. März 2031" --pictures looked
    """
    if (path is None) == (not text):
        raise typer.BadParameter("name an input file, or give --text; see --help")
    with session(address) as client:
        described = client.models.describe(model, version=version)
        inputs = given_inputs(path, text, described.manifest, invert=invert)
        outputs = client.infer(
            model, inputs, version=version, outputs=output or (), timeout_s=timeout_s
        )
    written = texts(outputs, described.manifest)
    saved = save_attention(inputs, outputs, described.manifest, pictures) if pictures else []
    if save:
        _save(outputs, save)
    if as_json:
        told = {} if written is None else {"texts": written}
        print_json({"model": model, "version": described.version, "outputs": outputs, **told})
        return
    people.print(f"[bold]{model}[/] version {described.version}")
    if written is None:
        _tell(outputs, described.manifest, top)
    else:
        tell(written, outputs)
    for file in saved:
        people.print(f"wrote {file}")


def _save(outputs: Mapping[str, np.ndarray[Any, Any]], path: Path) -> None:
    # Before anything is written. numpy's own type of bytes loses NULs at their ends.
    if of_bytes := [name for name, array in outputs.items() if array.dtype == object]:
        raise InvalidArgument(
            f"{path}: a .npz file holds numbers, and {', '.join(of_bytes)} is of BYTES; "
            "--json prints it, --output leaves it out"
        )
    np.savez(path, allow_pickle=False, **outputs)


def _tell(
    outputs: Mapping[str, np.ndarray[Any, Any]], manifest: Mapping[str, Any], top: int
) -> None:
    labels = manifest.get("class_labels") or []
    probabilities = outputs.get("probabilities")
    if probabilities is not None and probabilities.ndim == 2 and len(labels):
        listed = table("row ›", *[f"{'' if n else 'most '}likely" for n in range(top)])
        for number, row in enumerate(probabilities[:_ROWS_SHOWN]):
            best = np.argsort(row)[::-1][:top]
            listed.add_row(
                str(number), *[f"{escape(labels[i])}  [dim]{row[i]:.1%}[/]" for i in best]
            )
        people.print(listed)
        if len(probabilities) > _ROWS_SHOWN:
            people.print(f"… and {len(probabilities) - _ROWS_SHOWN} more rows; --json or --save")
        return
    listed = table("output", "shape", "values")
    for name, array in outputs.items():
        values = np.array2string(array, threshold=12, precision=4, suppress_small=True)
        listed.add_row(name, " × ".join(map(str, array.shape)), escape(values))
    people.print(listed)
