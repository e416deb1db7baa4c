"""The files of a job's result, handed out in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from wintergarden.errors import FailedPrecondition, InvalidArgument, NotFound
from wintergarden.jobs import Jobs, JobState
from wintergarden.jobs.results import MAX_INDEX_BYTES, Result, is_result
from wintergarden.service.transport import Call, Route, unary
from wintergarden.store.job_files import JobFiles, open_job_files
from wintergarden.wire import training_pb2 as pb

CHUNK_BYTES = 4 << 20


class JobFilesServicer:
    """Two calls of `wintergarden.v1.TrainingService`.

    Args:
        service: its full name.
        jobs: the records.
        store_uri: where the files are.
    """

    def __init__(self, service: str, jobs: Jobs, store_uri: str) -> None:
        self._service = service
        self._jobs = jobs
        self._store_uri = store_uri

    def routes(self) -> list[Route]:
        return [
            unary(self._service, "ListJobFiles", self.list),
            unary(self._service, "ReadJobFile", self.read),
        ]

    def list(self, request: pb.ListJobFilesRequest, _: Call) -> pb.ListJobFilesResponse:
        result, _files = self._result(request.job_id)
        return pb.ListJobFilesResponse(
            files=[
                pb.ListJobFilesResponse.File(name=f.name, size=f.size, sha256=f.sha256)
                for f in result.files
            ],
            summary_json=json.dumps(dict(result.summary), sort_keys=True),
        )

    def read(self, request: pb.ReadJobFileRequest, _: Call) -> pb.ReadJobFileResponse:
        if request.offset < 0:
            raise InvalidArgument(f"offset {request.offset}: 0 or above", field="offset")
        result, files = self._result(request.job_id)
        for file in result.files:
            if file.name == request.name:
                with _kept(request.job_id):
                    chunk = files.read_part(file.path, request.offset, CHUNK_BYTES)
                return pb.ReadJobFileResponse(chunk=chunk)
        there_are = ", ".join(file.name for file in result.files)
        raise NotFound(f"job {request.job_id} has no file {request.name!r}; there are {there_are}")

    def _result(self, job_id: str) -> tuple[Result, JobFiles]:
        job = self._jobs.get(job_id)
        if job.state != JobState.SUCCEEDED or not is_result(job.checkpoint):
            kind = f"a job of kind {job.kind!r}" if job.state.is_final else f"it is {job.state}"
            raise FailedPrecondition(f"job {job_id} has no result to hand out: {kind}")
        files = open_job_files(self._store_uri, job_id)
        with _kept(job_id):
            return Result.from_json(files.read(job.checkpoint, MAX_INDEX_BYTES)), files


@contextmanager
def _kept(job_id: str) -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise NotFound(f"the result of job {job_id} is no longer kept") from error
