"""wintergarden.v1.TrainingService over the job records. No Redis, no torch: only translation."""

from __future__ import annotations

import json
from collections.abc import Generator

from gateway.catalogue import Catalogue
from gateway.job_messages import (
    event_message,
    job_message,
    job_state,
    training_fields,
    training_message,
)
from gateway.merge_patch import merge_patch
from gateway.search_spec import search_spec
from gateway.training_options import training_options
from wintergarden.errors import FailedPrecondition, InvalidArgument
from wintergarden.jobs import Jobs, TrainingSpec
from wintergarden.service.transport import Call, Route, server_stream, unary
from wintergarden.store import validate_model_name
from wintergarden.wire import training_pb2 as pb

SERVICE = "wintergarden.v1.TrainingService"
DEFAULT_LIST_LIMIT = 100
MAX_LIST_LIMIT = 1_000


class TrainingServicer:
    def __init__(self, jobs: Jobs, catalogue: Catalogue) -> None:
        self._jobs = jobs
        self._catalogue = catalogue

    def routes(self) -> list[Route]:
        return [
            unary(SERVICE, "SubmitTraining", self.submit),
            unary(SERVICE, "SubmitSearch", self.submit_search),
            unary(SERVICE, "GetJob", self.get),
            unary(SERVICE, "ListJobs", self.list),
            unary(SERVICE, "CancelJob", self.cancel),
            unary(SERVICE, "PauseJob", self.pause),
            unary(SERVICE, "ResumeJob", self.resume),
            unary(SERVICE, "CloneJob", self.clone),
            server_stream(SERVICE, "WatchJob", self.watch, is_endless=True),
            unary(SERVICE, "DescribeArchitectures", self.describe_architectures),
            unary(SERVICE, "DescribeDatasets", self.describe_datasets),
            unary(SERVICE, "ListWorkers", self.list_workers),
        ]

    def submit(self, request: pb.SubmitTrainingRequest, _: Call) -> pb.SubmitTrainingResponse:
        record = self._jobs.submit(
            self._checked(request.training), request.request_id, priority=request.priority
        )
        return pb.SubmitTrainingResponse(job=job_message(record))

    def submit_search(self, request: pb.SubmitSearchRequest, _: Call) -> pb.SubmitSearchResponse:
        wanted = request.search
        architecture = wanted.training.architecture
        spec = search_spec(
            self._checked(wanted.training), wanted, self._catalogue.schema(architecture)
        )
        record = self._jobs.submit(spec, request.request_id, priority=request.priority)
        return pb.SubmitSearchResponse(job=job_message(record))

    def get(self, request: pb.GetJobRequest, _: Call) -> pb.GetJobResponse:
        return pb.GetJobResponse(job=job_message(self._jobs.get(request.job_id)))

    def list(self, request: pb.ListJobsRequest, _: Call) -> pb.ListJobsResponse:
        if not 0 <= request.limit <= MAX_LIST_LIMIT:
            raise InvalidArgument(
                f"limit {request.limit} is not in 0..{MAX_LIST_LIMIT}", field="limit"
            )
        records = self._jobs.list(
            states=[job_state(number) for number in request.states],
            limit=request.limit or DEFAULT_LIST_LIMIT,
            parent=request.parent,
        )
        return pb.ListJobsResponse(jobs=[job_message(record) for record in records])

    def cancel(self, request: pb.CancelJobRequest, _: Call) -> pb.CancelJobResponse:
        return pb.CancelJobResponse(job=job_message(self._jobs.cancel(request.job_id)))

    def pause(self, request: pb.PauseJobRequest, _: Call) -> pb.PauseJobResponse:
        return pb.PauseJobResponse(job=job_message(self._jobs.pause(request.job_id)))

    def resume(self, request: pb.ResumeJobRequest, _: Call) -> pb.ResumeJobResponse:
        return pb.ResumeJobResponse(job=job_message(self._jobs.resume(request.job_id)))

    def clone(self, request: pb.CloneJobRequest, _: Call) -> pb.CloneJobResponse:
        original = self._jobs.get(request.job_id)
        if not isinstance(original.spec, TrainingSpec):
            raise FailedPrecondition(
                f"job {original.id} is of kind {original.kind!r}; only trainings are cloned"
            )
        changed = merge_patch(training_fields(original.spec), request.changes_json)
        record = self._jobs.submit(
            self._checked(training_message(changed)),
            request.request_id,
            priority=request.priority,
        )
        return pb.CloneJobResponse(job=job_message(record))

    def watch(
        self, request: pb.WatchJobRequest, call: Call
    ) -> Generator[pb.WatchJobResponse, None, None]:
        events = self._jobs.watch(
            request.job_id, cursor=request.cursor, stop=lambda: call.is_cancelled
        )
        for event in events:
            yield pb.WatchJobResponse(event=event_message(event))

    def describe_architectures(
        self, _: pb.DescribeArchitecturesRequest, __: Call
    ) -> pb.DescribeArchitecturesResponse:
        response = pb.DescribeArchitecturesResponse()
        for entry in self._catalogue.architectures():
            response.architectures.add(
                name=entry["name"],
                summary=entry["summary"],
                task=entry["task"],
                source=entry["source"],
                hyperparameters_schema_json=json.dumps(entry["hyperparameters_schema"]),
                datasets=entry["datasets"],
            )
        return response

    def describe_datasets(
        self, _: pb.DescribeDatasetsRequest, __: Call
    ) -> pb.DescribeDatasetsResponse:
        response = pb.DescribeDatasetsResponse()
        for entry in self._catalogue.datasets():
            response.datasets.add(
                name=entry["name"],
                summary=entry["summary"],
                task=entry["task"],
                input_shape=entry["input_shape"],
                class_labels=entry["class_labels"],
                split_sizes=entry["split_sizes"],
                source=entry["source"],
            )
        return response

    def list_workers(self, _: pb.ListWorkersRequest, __: Call) -> pb.ListWorkersResponse:
        response = pb.ListWorkersResponse(queued=self._jobs.queue_lengths())
        for worker in self._jobs.workers():
            response.workers.add(
                name=worker.name,
                routes=worker.routes,
                concurrency=worker.concurrency,
                running=worker.running,
                memory_mb=worker.memory_mb,
                devices=worker.devices,
            )
        return response

    def _checked(self, training: pb.TrainingSpec) -> TrainingSpec:
        spec = training_options(self._catalogue.check(training), training)
        validate_model_name(spec.model)
        return spec
