"""`wintergarden train`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.markup import escape

from wintergarden.cli.output import AsJson, aside, people, print_json, table, waiting
from wintergarden.cli.progress import JobProgress, metrics_line
from wintergarden.cli.session import HERE, Address, session
from wintergarden.client import Client, Job, JobHandle, JobState

Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="NAME=VALUE", help="A hyperparameter; may be given repeatedly."
    ),
]
Priority = Annotated[
    int, typer.Option(min=-100, max=100, help="Jobs of a higher one run before others.")
]
Detach = Annotated[
    bool, typer.Option("--detach", "-d", help="Print the job's id and do not wait for its end.")
]


def train(
    architecture: Annotated[
        str, typer.Argument(help="What to train, for example lenet5.", show_default=False)
    ] = "",
    dataset: Annotated[
        str, typer.Argument(help="What to train it on, for example mnist-5k.", show_default=False)
    ] = "",
    *,
    parameter: Parameters = None,
    model: Annotated[
        str, typer.Option(help="Name to publish under. Default: ARCHITECTURE-DATASET.")
    ] = "",
    seed: Annotated[
        int, typer.Option(help="Of everything random; the same seed, the same model.")
    ] = 0,
    priority: Priority = 0,
    device: Annotated[
        str, typer.Option(help="auto, cpu or cuda; cuda waits for a worker that has it.")
    ] = "auto",
    processes: Annotated[int, typer.Option(min=1, help="That share each batch.")] = 1,
    max_seconds: Annotated[
        float, typer.Option(min=0, help="Of running, over all attempts; 0 is no limit.")
    ] = 0.0,
    max_memory_mb: Annotated[
        int, typer.Option(min=0, help="Mebibytes that it may use; 0 is no limit.")
    ] = 0,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="Of the served graph, beside float32: fp16, int8. May be repeated."),
    ] = None,
    promote: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Make the version `stable` if test_accuracy>=0.97, for example. May be repeated.",
        ),
    ] = None,
    request_id: Annotated[
        str, typer.Option(help="The same id submitted again is the same job. Default: a new one.")
    ] = "",
    catalogue: Annotated[
        bool, typer.Option("--list", "-l", help="List architectures, hyperparameters, data sets.")
    ] = False,
    detach: Detach = False,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Train a network; when it is done, it is served.

    Progress and metrics are shown until the job has ended. Ctrl-C stops the
    watching, not the job: `wintergarden jobs cancel` does.

    \b
    Examples:
      wintergarden train --list
      wintergarden train lenet5 mnist-5k
      wintergarden train mlp digits --set epochs=20 --set learning_rate=0.01 --seed 1
      wintergarden train lenet5 mnist-5k --model my-digits --detach
      wintergarden train lenet5 mnist-5k --promote 'test_accuracy>=0.97' --variant int8
    """
    with session(address) as client:
        if catalogue:
            _list(client, as_json)
            return
        if not architecture or not dataset:
            raise typer.BadParameter("name an architecture and a data set; --list shows them")
        handle = client.train(
            architecture,
            dataset,
            dict(assignment(text, "--set") for text in parameter or ()),
            model=model,
            seed=seed,
            priority=priority,
            device=device,
            processes=processes,
            max_seconds=max_seconds,
            max_memory_mb=max_memory_mb,
            variants=variant or (),
            promote=promote or (),
            request_id=request_id or None,
        )
        if detach:
            print_json(handle.job) if as_json else people.print(handle.id)
            return
        job = follow(handle, as_json=as_json)
    tell_end(job, as_json=as_json)


def follow(handle: JobHandle, *, as_json: bool = False, cursor: str = "") -> Job:
    """Show a job's events until it ends; as JSON, one line each."""
    if as_json:
        for event in handle.watch(cursor=cursor):
            print_json(
                {"event": type(event).__name__, "job_id": handle.id} | vars(event), indent=None
            )
        return _ended(handle)
    aside.print(f"job {handle.id}", style="dim")
    job = handle.job
    title = what(job)
    try:
        with JobProgress(title, aside) as progress:
            for event in handle.watch(cursor=cursor):
                progress.show(event)
    except KeyboardInterrupt:
        aside.print(f"the job goes on; `wintergarden jobs watch {handle.id}` shows it again")
        raise typer.Exit(130) from None
    return _ended(handle)


def what(job: Job) -> str:
    """What a job does, in a few words; an uploaded data set by its name, without the digest."""
    if job.kind == "prepare":
        return f"preparing {job.spec.get('name', '')}"
    if job.kind == "explain":
        told = job.spec
        return f"{told.get('method')} on {told.get('model')} version {told.get('version')}"
    dataset = job.dataset.partition("@")[0]
    return f"{job.architecture} on {dataset}" if job.architecture else job.kind


def _ended(handle: JobHandle) -> Job:
    """The record of a job whose events have ended; what it trained is served by then."""
    with waiting("loading the model", quiet=not aside.is_terminal):
        return handle.wait()


def tell_end(job: Job, *, as_json: bool = False) -> None:
    """What became of the job. Exits with status 1 when it did not succeed."""
    if as_json:
        print_json(job, indent=None)
    elif job.state is not JobState.SUCCEEDED:
        aside.print(f"[bold red]{job.state}[/] {escape(job.reason)}", soft_wrap=True)
    if job.state is not JobState.SUCCEEDED:
        raise typer.Exit(1)
    if not as_json:
        version = f" version {job.model_version}" if job.model_version else ""
        people.print(f"[bold]{job.model}[/]{version}")
        people.print(metrics_line(job.metrics))


def assignment(text: str, option: str) -> tuple[str, Any]:
    """`epochs=3` → ("epochs", 3): JSON where it is JSON, text where it is not."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{option} {text!r}: want NAME=VALUE, for example epochs=3")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _list(client: Client, as_json: bool) -> None:
    architectures, datasets = client.architectures(), client.datasets()
    if as_json:
        print_json({"architectures": architectures, "datasets": datasets})
        return
    for architecture in architectures:
        people.print(f"[bold]{escape(architecture.name)}[/]  {escape(architecture.summary)}")
        people.print(f"  [dim]{escape(architecture.source)}[/]")
        people.print(f"  on {', '.join(architecture.datasets)}")
        listed = table("hyperparameter", "default ›", "allowed", "")
        for name, schema in architecture.hyperparameters_schema.get("properties", {}).items():
            listed.add_row(
                f"  {name}",
                escape(json.dumps(schema.get("default"))),
                escape(_allowed(schema)),
                escape(schema.get("description", "")),
            )
        people.print(listed, "")
    listed = table("data set", "task", "shape", "examples ›", "")
    for dataset in datasets:
        examples = sum(dataset.split_sizes.values())
        shape = " × ".join(str(size) for size in dataset.input_shape)
        listed.add_row(dataset.name, dataset.task, shape, str(examples), escape(dataset.summary))
    people.print(listed)


def _allowed(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    limits = [
        f"{sign} {schema[key]}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in schema
    ]
    return " ".join([str(schema.get("type", "")), ", ".join(limits)]).strip()
