"""`wintergarden jobs …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from wintergarden.cli.explanation_jobs import save_result
from wintergarden.cli.output import AsJson, ago, people, print_json, table
from wintergarden.cli.progress import coloured, metrics_line
from wintergarden.cli.session import HERE, Address, session
from wintergarden.cli.train import (
    Detach,
    Parameters,
    Priority,
    assignment,
    follow,
    tell_end,
    what,
)
from wintergarden.client import Job, JobState

app = typer.Typer(
    help="List, show, watch, cancel, pause, resume and clone jobs; fetch their results.",
    no_args_is_help=True,
)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id; `jobs list` shows it.")]


@app.command("list")
def list_jobs(
    *,
    state: Annotated[
        list[JobState] | None, typer.Option(help="Only jobs in this state; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many jobs.")] = 20,
    parent: Annotated[
        str, typer.Option(metavar="JOB", help="Only what this job has submitted, in its order.")
    ] = "",
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first.

    \b
    Examples:
      wintergarden jobs list
      wintergarden jobs list --state queued --state running
    """
    with session(address) as client:
        jobs = client.jobs.list(states=state or (), limit=limit, parent=parent)
    if as_json:
        print_json(jobs)
        return
    if not jobs:
        people.print("no jobs; `wintergarden train lenet5 mnist-5k` makes one")
        return
    listed = table("job", "state", "what", "progress ›", "attempt ›", "submitted ›")
    for job in jobs:
        listed.add_row(
            job.id,
            coloured(job.state),
            escape(what(job)),
            f"#{job.queue_position} in line" if job.queue_position else f"{job.progress:.0%}",
            str(job.attempt),
            ago(job.submitted_at),
        )
    people.print(listed)


@app.command()
def show(job_id: JobId, address: Address = HERE, as_json: AsJson = False) -> None:
    """Show one job's record.

    \b
    Example:
      wintergarden jobs show 0192f3
    """
    with session(address) as client:
        _answer(client.jobs.get(job_id), as_json)


@app.command()
def watch(
    job_id: JobId,
    *,
    cursor: Annotated[str, typer.Option(help="Only what came after this event.")] = "",
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Replay a job's events, then follow them until it ends.

    Exits with 1 when the job failed or was cancelled. As JSON, a line for
    each event and one for the job's record at the end.

    \b
    Examples:
      wintergarden jobs watch 0192f3
      wintergarden jobs watch 0192f3 --json | jq .values
    """
    with session(address) as client:
        job = follow(client.jobs.handle(job_id), as_json=as_json, cursor=cursor)
    tell_end(job, as_json=as_json)


@app.command()
def result(
    job_id: JobId,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, metavar="DIR", help="Write it there.")
    ],
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Fetch what an explanation or attack has left: numbers (.npz), pictures, a summary.

    \b
    Example:
      wintergarden jobs result 0192f3 --output explanations
    """
    with session(address) as client:
        job = client.jobs.get(job_id)
        save_result(job, client.jobs.result(job_id), output, as_json=as_json)


@app.command()
def cancel(job_id: JobId, address: Address = HERE, as_json: AsJson = False) -> None:
    """Stop a job, waiting or running.

    \b
    Example:
      wintergarden jobs cancel 0192f3
    """
    with session(address) as client:
        _answer(client.jobs.cancel(job_id), as_json)


@app.command()
def pause(job_id: JobId, address: Address = HERE, as_json: AsJson = False) -> None:
    """Hold a job until it is resumed.

    One that waits is held at once; one that runs is stopped at its next step,
    with a checkpoint, and loses nothing.

    \b
    Example:
      wintergarden jobs pause 0192f3
    """
    with session(address) as client:
        _answer(client.jobs.pause(job_id), as_json)


@app.command()
def resume(job_id: JobId, address: Address = HERE, as_json: AsJson = False) -> None:
    """Let a paused job go on from its checkpoint.

    \b
    Example:
      wintergarden jobs resume 0192f3
    """
    with session(address) as client:
        _answer(client.jobs.resume(job_id), as_json)


@app.command()
def clone(
    job_id: JobId,
    *,
    parameter: Parameters = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--change",
            "-c",
            metavar="NAME=VALUE",
            help="Another field: seed, model, dataset, device, … May be given repeatedly.",
        ),
    ] = None,
    priority: Priority = 0,
    detach: Detach = False,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Submit a job like another one, with changes; `null` brings back a default.

    \b
    Examples:
      wintergarden jobs clone 0192f3 --change seed=1
      wintergarden jobs clone 0192f3 --set epochs=40 --set l2=null --change model=longer
    """
    changes: dict[str, Any] = dict(assignment(text, "--change") for text in change or ())
    if parameter:
        changes["hyperparameters"] = dict(assignment(text, "--set") for text in parameter)
    with session(address) as client:
        job = client.jobs.clone(job_id, changes, priority=priority)
        if detach:
            print_json(job) if as_json else people.print(job.id)
            return
        job = follow(client.jobs.handle(job.id), as_json=as_json)
    tell_end(job, as_json=as_json)


@app.command()
def workers(address: Address = HERE, as_json: AsJson = False) -> None:
    """Show who takes jobs, and how many wait.

    \b
    Example:
      wintergarden jobs workers
    """
    with session(address) as client:
        found = client.jobs.workers()
    if as_json:
        print_json(found)
        return
    if found.workers:
        listed = table("worker", "running ›", "queues", "memory ›", "devices")
        for worker in found.workers:
            listed.add_row(
                worker.name,
                f"{worker.running} of {worker.concurrency}",
                ", ".join(worker.routes),
                f"{worker.memory_mb:,} MiB" if worker.memory_mb else "–",
                escape(", ".join(worker.devices)),
            )
        people.print(listed)
    else:
        people.print("no worker is running; `python -m trainer` is one")
    waiting = [f"{queued} in {route}" for route, queued in sorted(found.queued.items()) if queued]
    people.print(f"waiting: {', '.join(waiting) or 'none'}")


def _answer(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        _tell(job)


def _tell(job: Job) -> None:
    shown = table("", "")
    shown.show_header = False
    rows = {
        "job": job.id,
        "state": coloured(job.state) + (f"  {escape(job.reason)}" if job.reason else ""),
        "what": escape(f"{what(job)}, seed {job.seed}" if job.architecture else what(job)),
        "asked": job.requested,
        "parent": job.parent,
        "priority": str(job.priority or ""),
        "hyperparameters": escape(
            ", ".join(f"{k}={v}" for k, v in job.hyperparameters.items()) or "–"
        ),
        "progress": f"{job.progress:.0%} {job.phase}, attempt {job.attempt}",
        "checkpoint": f"step {job.checkpoint_step}" if job.checkpoint_step else "",
        "failures": f"{job.failures} of {job.max_attempts}" if job.failures else "",
        "worker": job.worker or "–",
        "submitted": ago(job.submitted_at),
        "started": ago(job.started_at),
        "ended": ago(job.ended_at),
        "model": f"{job.model} version {job.model_version}" if job.model_version else job.model,
        "metrics": metrics_line(job.metrics) or "–",
    }
    for name, value in rows.items():
        if value:
            shown.add_row(f"[dim]{name}[/]", value)
    people.print(shown)
