"""Carries out one explanation job: block after block, then the result.

Each block is kept before the next begins, and the result counts once the job's record names it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from services.explanation.pictures import Picture
from services.explanation.subject import Subjects
from services.explanation.worker.blocks import Blocks, Progress
from services.explanation.worker.order import ExplainOrder
from services.explanation.worker.work import Work, blocks_in, work_of
from wintergarden.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Overloaded,
    StorageFull,
    Unavailable,
)
from wintergarden.jobs.results import MAX_INDEX_BYTES, RESULT, Result, ResultFile, is_result
from wintergarden.runtime import RuntimeOptions
from wintergarden.store import ModelStore, open_store
from wintergarden.store.arrays import pack
from wintergarden.store.job_files import JobFiles, open_job_files
from wintergarden.wire import explanation_pb2 as pb
from wintergarden.worker.control import Control, Stopped
from wintergarden.worker.space import when_there_is_space

REQUEST_FILE = "request.pb"
MAX_REQUEST_BYTES = 256 << 20
BLOCKS_END = 0.95
"""Share of the whole job, for progress: the result is the rest."""

_PIN_S = 5.0
_FEW_BATCHES = 20


def run(text: bytes | str, control: Control) -> Mapping[str, Any]:
    """Do the job that an order describes; the fields of the result."""
    order = ExplainOrder.parse(text)
    files = open_job_files(order.store_uri, order.job_id)
    if is_result(order.checkpoint):
        done = Result.from_json(files.read(order.checkpoint, MAX_INDEX_BYTES))
        return _told(order, done)
    control.progress("start", 0.0)
    store = open_store(order.store_uri)
    pace = _Pace(control, _Pin(store, order))
    options = RuntimeOptions(device=order.device, intra_op_threads=order.intra_op_threads)
    subjects = Subjects(store, options, order.cache_bytes)
    pace.pin.check()
    subject = subjects.open(order.model, order.version, pace.tick, pace.expect)
    work = work_of(_request(files, order), subject, order.examples)
    if work.result_bytes > order.max_result_bytes:
        raise InvalidArgument(
            f"the result would take {work.result_bytes} bytes; {order.max_result_bytes} are "
            "allowed in one job: send fewer rows",
            "input",
        )
    blocks = Blocks(files, order.fence, order.max_result_bytes)
    progress = _go_on(blocks, order, control)
    _do(work, blocks, progress, control, pace)
    return _told(order, _finish(work, blocks, progress, control, order))


def _do(work: Work, blocks: Blocks, progress: Progress, control: Control, pace: _Pace) -> None:
    count = blocks_in(work)
    for number in range(len(progress.blocks), count):
        pace.begin(number, count, progress.steps)
        block = work.block(number * work.block_steps)
        for picture in block.pictures:
            kept = _put(blocks, picture, control, "explain", pace.fraction)
            progress.pictures.append(kept)
            control.picture(kept.path, kept.name, progress.steps)
        progress.steps = min(work.steps, (number + 1) * work.block_steps)
        progress.evaluations += pace.rows if block.evaluations is None else block.evaluations
        progress.summary = _together(progress.summary, block.summary)
        checkpoint = when_there_is_space(
            partial(blocks.keep, progress, block.arrays), control, "explain", pace.fraction
        )
        pace.end(number, count, progress.steps)
        control.say(
            "metrics",
            step=progress.steps,
            values={"rows": progress.steps, "evaluations": progress.evaluations},
        )
        if not control.keep_checkpoint(checkpoint, progress.steps):
            raise Stopped("the checkpoint was refused")


def _together(done: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    """Blocks have all in common but this: long texts are sampled where short ones are exact."""
    if "exact" not in block:
        return dict(block)
    return {**block, "exact": block["exact"] and done.get("exact", True)}


def _finish(
    work: Work, blocks: Blocks, progress: Progress, control: Control, order: ExplainOrder
) -> Result:
    control.progress("result", BLOCKS_END, progress.steps)
    arrays = blocks.all_arrays(progress)
    pictures = list(progress.pictures)
    for picture in work.last_pictures(arrays, progress.summary):
        kept = _put(blocks, picture, control, "result", BLOCKS_END)
        pictures.append(kept)
        control.picture(kept.path, kept.name, progress.steps)
    content = pack(arrays)
    numbers = when_there_is_space(
        lambda: blocks.put("result.npz", content), control, "result", BLOCKS_END
    )
    result = Result(
        summary={
            **progress.summary,
            "operation": order.operation,
            "method": order.method,
            "model": order.model,
            "version": order.version,
            "digest": order.digest,
            "evaluations": progress.evaluations,
        },
        metrics={**work.metrics(arrays), "evaluations": float(progress.evaluations)},
        files=(numbers, *pictures),
    )
    control.check()
    index = when_there_is_space(
        lambda: blocks.put(RESULT, result.to_json()), control, "result", BLOCKS_END
    )
    if not control.keep_checkpoint(index.path, progress.steps):
        raise Stopped("the result was refused")
    return result


def _put(
    blocks: Blocks, picture: Picture, control: Control, phase: str, fraction: float
) -> ResultFile:
    write = partial(blocks.put, picture.name, picture.content)
    return when_there_is_space(write, control, phase, fraction)


def _go_on(blocks: Blocks, order: ExplainOrder, control: Control) -> Progress:
    if not order.checkpoint:
        return Progress()
    try:
        progress = blocks.read(order.checkpoint)
    except (NotFound, DataLoss) as error:
        control.log("warning", f"{order.checkpoint} cannot be used, starting again: {error}")
        return Progress()
    control.log("info", f"resumed after {progress.steps} rows")
    return progress


def _request(files: JobFiles, order: ExplainOrder) -> pb.SubmitExplanationRequest:
    content = files.read(REQUEST_FILE, MAX_REQUEST_BYTES)
    if hashlib.sha256(content).hexdigest() != order.request:
        raise DataLoss(f"{REQUEST_FILE} of job {order.job_id} is not what was submitted")
    try:
        request: pb.SubmitExplanationRequest = pb.SubmitExplanationRequest.FromString(content)
    except DecodeError as error:
        raise DataLoss(f"{REQUEST_FILE} of job {order.job_id} is damaged") from error
    return request


def _told(order: ExplainOrder, result: Result) -> dict[str, Any]:
    return {"model": order.model, "version": 0, "metrics": dict(result.metrics)}


class _Pin:
    """The version is what it was when the job was submitted, or the job fails."""

    def __init__(self, store: ModelStore, order: ExplainOrder) -> None:
        self._store = store
        self._order = order
        self._checked_at = -_PIN_S

    def check(self) -> None:
        """At most every few seconds.

        Raises:
            FailedPrecondition: the version has gone or is another.
        """
        now = time.monotonic()
        if now - self._checked_at < _PIN_S:
            return
        self._checked_at = now
        order = self._order
        name = f"version {order.version} of model {order.model!r}"
        try:
            manifest = self._store.read_manifest(order.model, order.version)
        except NotFound as error:
            raise FailedPrecondition(
                f"{name}, which the job was submitted for, has been deleted"
            ) from error
        except StorageFull:
            raise
        except (Unavailable, Overloaded):
            return  # what was opened is still there
        if manifest.digest != order.digest:
            raise FailedPrecondition(
                f"{name} is another than the job was submitted for: sha256 "
                f"{manifest.digest[:12]}…, not {order.digest[:12]}…"
            )


class _Pace:
    """Tells how far the job is, also within a block, and stops it where it is asked to."""

    def __init__(self, control: Control, pin: _Pin) -> None:
        self._control = control
        self.pin = pin
        self._batches = 0
        self._rows = 0
        self._within = 0.0
        self._expected = 0
        self._share = (0.0, 0.0)
        self._steps = 0

    @property
    def fraction(self) -> float:
        """Of the job, before the block under way."""
        return self._share[0]

    @property
    def rows(self) -> int:
        """That the model was run on in the block under way."""
        return self._rows

    def begin(self, number: int, count: int, steps: int) -> None:
        self.pin.check()
        self._share = (BLOCKS_END * number / count, BLOCKS_END * (number + 1) / count)
        self._expected = self._rows  # blocks are of one size
        self._batches, self._rows, self._within, self._steps = 0, 0, 0.0, steps
        self._control.progress("explain", self._share[0], steps)

    def end(self, number: int, count: int, steps: int) -> None:
        self._control.progress("explain", BLOCKS_END * (number + 1) / count, steps)

    def expect(self, rows: int) -> None:
        """Of the block under way, as its method says."""
        self._expected = self._rows + rows

    def tick(self, rows: int) -> None:
        """Before each batch of model rows."""
        self._batches += 1
        self._rows += rows
        low, high = self._share
        if self._rows <= self._expected:
            within = self._rows / self._expected
        else:  # nothing was said yet, or it looks for how much it needs
            within = (self._batches - 1) / (self._batches + _FEW_BATCHES)
        self._within = max(self._within, min(0.99, within))  # time does not run backwards
        at = low + self._within * (high - low)
        self._control.progress("explain", at, self._steps, is_due=False)
