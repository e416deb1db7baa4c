"""`--job` of explain, attack and robustness: queued, followed, and its files fetched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from wintergarden.cli.output import people, print_json
from wintergarden.cli.train import follow, tell_end
from wintergarden.client import Job, JobHandle, JobOptions, JobResult

AsJob = Annotated[
    bool,
    typer.Option(
        "--job", help="Queue it as a job, which survives this command and the machines it runs on."
    ),
]
Examples = Annotated[
    str,
    typer.Option(
        metavar="START:COUNT",
        help="With --job: the model's own held-out examples instead of a file; 0: for all.",
    ),
]
RequestId = Annotated[
    str, typer.Option(help="With --job: the same id submitted again is the same job.")
]


def job_options(priority: int, request_id: str) -> JobOptions:
    """What a submission takes beside what is to be done."""
    return {"priority": priority, "request_id": request_id or None}


def read_examples(text: str) -> tuple[int, int] | None:
    """`10:5` → (10, 5); `10` alone is one example, `0:0` all; None where nothing is said."""
    if not text:
        return None
    if not (match := re.fullmatch(r"(\d+)(?::(\d+))?", text)):
        raise typer.BadParameter(f"--examples {text!r}: want START:COUNT, for example 0:100")
    return int(match[1]), int(match[2]) if match[2] else 1


def see_to_its_end(
    handle: JobHandle,
    *,
    detach: bool,
    as_json: bool,
    pictures: Path | None = None,
    save: Path | None = None,
) -> None:
    """Follow the job and fetch what it leaves; exits with 1 when it did not succeed.

    Args:
        handle: of the job.
        detach: only say its id.
        as_json: events and the record as lines of JSON.
        pictures: a directory for them.
        save: a file for the numbers (.npz).
    """
    if detach:
        print_json(handle.job) if as_json else people.print(handle.id)
        return
    job = follow(handle, as_json=as_json)
    tell_end(job, as_json=as_json)
    if pictures is None and save is None:
        if not as_json:
            people.print(f"its numbers: wintergarden jobs result {job.id} --output DIR")
        return
    result = handle.result()
    written = []
    if save:
        save.write_bytes(result.files["result.npz"])
        written.append(save)
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
        written += [picture.save(pictures) for picture in result.pictures]
    if not as_json:
        for file in written:
            people.print(f"wrote {file}")


def save_result(job: Job, result: JobResult, directory: Path, *, as_json: bool) -> None:
    """Write all of a job's files."""
    written = result.save(directory)
    if as_json:
        print_json({"job_id": job.id, "summary": dict(result.summary), "files": written})
        return
    for file in written:
        people.print(f"wrote {file}")
