"""Long explanations as jobs: what a request asks is kept, settled to one version, and queued."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import structlog
from google.protobuf import json_format

from gateway.job_messages import job_message
from wintergarden.errors import InvalidArgument, NotFound, WintergardenError
from wintergarden.jobs import ExplainSpec, JobRecord, Jobs
from wintergarden.jobs.jobs import new_id
from wintergarden.service.transport import Call, Route, unary
from wintergarden.store import ModelStore
from wintergarden.store.job_files import open_job_files
from wintergarden.wire import explanation_pb2 as pb

SERVICE = "wintergarden.v1.ExplanationService"
SUBMIT = "SubmitExplanation"
REQUEST_FILE = "request.pb"
MAX_JOB_ROWS = 10_000
_KINDS = {"explain": "attribution", "attack": "attack", "robustness": "attack"}
_log = structlog.get_logger(__name__)

_LONG_FIELDS = ("input", "background", "players", "targets", "labels", "context")


class ExplanationServicer:
    """The one call that is not the explanation service's own.

    Args:
        jobs: the records.
        store: the models.
        store_uri: where it is.
    """

    def __init__(self, jobs: Jobs, store: ModelStore, store_uri: str) -> None:
        self._jobs = jobs
        self._store = store
        self._store_uri = store_uri

    def routes(self) -> list[Route]:
        return [unary(SERVICE, SUBMIT, self.submit)]

    def submit(self, request: pb.SubmitExplanationRequest, _: Call) -> pb.SubmitExplanationResponse:
        operation = request.WhichOneof("work")
        if not operation:
            raise InvalidArgument("the request holds no explain, attack or robustness", "work")
        rows, examples = _rows(request, operation)
        self._check_method(operation, getattr(request, operation).method)
        content = _content(request)
        digest = hashlib.sha256(content).hexdigest()
        # Before the version is settled: a newer one may have been published since.
        record = self._submitted(request, digest)
        if record is None:
            spec = self._spec(request, operation, digest, rows, examples)
            record = self._queue(spec, request, content)
        return pb.SubmitExplanationResponse(job=job_message(record))

    def _submitted(self, request: pb.SubmitExplanationRequest, digest: str) -> JobRecord | None:
        known = self._jobs.find_request(request.request_id) if request.request_id else None
        is_same = known and isinstance(known.spec, ExplainSpec) and known.spec.request == digest
        return known if is_same else None

    def _spec(
        self,
        request: pb.SubmitExplanationRequest,
        operation: str,
        digest: str,
        rows: int,
        examples: tuple[int, ...],
    ) -> ExplainSpec:
        work = getattr(request, operation)
        if work.model_version < 0:
            raise InvalidArgument(
                f"model_version={work.model_version}: 0 (latest) or above", "model_version"
            )
        version = work.model_version or self._store.latest_version(work.model_name)
        manifest = self._store.read_manifest(work.model_name, version)
        return ExplainSpec(
            operation=operation,
            method=work.method,
            model=manifest.model,
            version=manifest.version,
            digest=manifest.digest,
            request=digest,
            rows=rows,
            examples=examples,
            parameters=_parameters(work),
            max_seconds=request.max_seconds,
            max_memory_mb=request.max_memory_mb,
        )

    def _queue(
        self, spec: ExplainSpec, request: pb.SubmitExplanationRequest, content: bytes
    ) -> JobRecord:
        """The request is in the store before the job is in the queue."""
        job_id = new_id()
        files = open_job_files(self._store_uri, job_id)
        files.put(REQUEST_FILE, content)
        record = None
        try:
            record = self._jobs.submit(
                spec, request.request_id, priority=request.priority, job_id=job_id
            )
        finally:
            # Refused, or a job that was there already; where nobody knows, a retry finds out.
            if record is None or record.id != job_id:
                self._discard(job_id)
        return record

    def _discard(self, job_id: str) -> None:
        try:
            self._jobs.get(job_id)
        except NotFound:
            open_job_files(self._store_uri, job_id).delete_folder()
        except WintergardenError as error:
            _log.warning("a request stays behind", job=job_id, error=error.message)

    def _check_method(self, operation: str, name: str) -> None:
        """Against what the workers do; where none is there, the one that comes will say."""
        kind = _KINDS[operation]
        known = {method for worker in self._jobs.workers() for method in worker.methods}
        names = sorted(m.partition(":")[2] for m in known if m.startswith(f"{kind}:"))
        if names and name not in names:
            raise InvalidArgument(
                f"no {kind} method {name!r}; there are {', '.join(names)}", "method"
            )


def _rows(request: pb.SubmitExplanationRequest, operation: str) -> tuple[int, tuple[int, ...]]:
    """How many rows were sent, or which examples are meant."""
    has_examples = request.HasField("examples")
    if operation == "robustness":
        if has_examples:
            raise InvalidArgument("a curve takes max_examples, not examples", "examples")
        return 0, ()
    sent = getattr(request, operation).input  # which of examples has a name alone
    has_input = bool(sent.datatype or sent.shape)
    if has_input == has_examples:
        raise InvalidArgument(
            f"give either {operation}.input or examples" + (", not both" if has_input else ""),
            "examples",
        )
    if has_examples:
        start, count = request.examples.start, request.examples.count
        if start < 0 or count < 0:
            raise InvalidArgument(f"examples {start}, {count}: 0 or above", "examples")
        return 0, (start, count)
    shape = getattr(request, operation).input.shape
    rows = shape[0] if shape else 0
    if not 1 <= rows <= MAX_JOB_ROWS:
        raise InvalidArgument(
            f"input has {rows} rows; 1 to {MAX_JOB_ROWS} are allowed in one job", "input"
        )
    return rows, ()


def _content(request: pb.SubmitExplanationRequest) -> bytes:
    """What is asked, without how it is queued."""
    kept = pb.SubmitExplanationRequest()
    kept.CopyFrom(request)
    for field in ("request_id", "priority", "max_seconds", "max_memory_mb"):
        kept.ClearField(field)
    content: bytes = kept.SerializeToString(deterministic=True)
    return content


def _parameters(work: Any) -> dict[str, Any]:
    """What a person wants to see of a request."""
    short = type(work)()
    short.CopyFrom(work)
    for field in _LONG_FIELDS:
        if field in short.DESCRIPTOR.fields_by_name:
            short.ClearField(field)
    if isinstance(short, pb.ExplainRequest) and short.region.HasField("mask"):
        short.ClearField("region")
    told = json_format.MessageToDict(short, preserving_proto_field_name=True)
    plain: dict[str, Any] = json.loads(json.dumps(told, sort_keys=True))
    for field in ("model_name", "model_version", "method"):
        plain.pop(field, None)
    return plain
