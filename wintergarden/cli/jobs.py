"""`wintergarden jobs …`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from wintergarden.cli.output import AsJson, ago, people, print_json, table
from wintergarden.cli.progress import coloured, metrics_line
from wintergarden.cli.session import HERE, Address, session
from wintergarden.cli.train import follow, tell_end
from wintergarden.client import Job, JobState

app = typer.Typer(help="List, show, watch and cancel training jobs.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id; `jobs list` shows it.")]


@app.command("list")
def list_jobs(
    *,
    state: Annotated[
        list[JobState] | None, typer.Option(help="Only jobs in this state; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many jobs.")] = 20,
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
        jobs = client.jobs.list(states=state or (), limit=limit)
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
            f"{job.architecture} on {job.dataset}",
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
        job = client.jobs.get(job_id)
    if as_json:
        print_json(job)
        return
    _tell(job)


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
def cancel(job_id: JobId, address: Address = HERE, as_json: AsJson = False) -> None:
    """Stop a job, waiting or running.

    \b
    Example:
      wintergarden jobs cancel 0192f3
    """
    with session(address) as client:
        job = client.jobs.cancel(job_id)
    if as_json:
        print_json(job)
        return
    _tell(job)


def _tell(job: Job) -> None:
    shown = table("", "")
    shown.show_header = False
    rows = {
        "job": job.id,
        "state": coloured(job.state) + (f"  {escape(job.reason)}" if job.reason else ""),
        "what": f"{job.architecture} on {job.dataset}, seed {job.seed}",
        "hyperparameters": escape(
            ", ".join(f"{k}={v}" for k, v in job.hyperparameters.items()) or "–"
        ),
        "progress": f"{job.progress:.0%} {job.phase}, attempt {job.attempt}",
        "worker": job.worker or "–",
        "submitted": ago(job.submitted_at),
        "started": ago(job.started_at),
        "ended": ago(job.ended_at),
        "model": f"{job.model} version {job.model_version}" if job.model_version else job.model,
        "metrics": metrics_line(job.metrics) or "–",
    }
    for name, value in rows.items():
        shown.add_row(f"[dim]{name}[/]", value)
    people.print(shown)
