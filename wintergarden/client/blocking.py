"""The blocking client. Safe to share between threads."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

import grpc
from google.protobuf.message import Message

from wintergarden.client import (
    analysis,
    attacks,
    datasets,
    explanation,
    explanation_jobs,
    generation,
    inference,
    jobs,
    models,
    serving,
    training,
)
from wintergarden.client.call import Call, Flow, Pause, Work
from wintergarden.client.channel import DEFAULT_ADDRESS, Stubs, options_for
from wintergarden.client.explanation_jobs import JobResult
from wintergarden.client.generation import Piece, SamplingOptions
from wintergarden.client.jobs import Event, Job, Watching
from wintergarden.client.patience import Patience
from wintergarden.client.status import from_rpc_error
from wintergarden.client.training import SearchOptions, TrainingOptions
from wintergarden.errors import InvalidArgument, Unavailable, WintergardenError

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(flow: Callable[P, Flow[T]]) -> Callable[Concatenate[Any, P], T]:
    """The method that carries a flow's calls, with the flow's own documentation."""

    @functools.wraps(flow)
    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self._run(flow(*args, **kwargs))
        return result

    signature = inspect.signature(flow)
    myself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [myself, *signature.parameters.values()]
    method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return method


def _submitting(flow: Callable[P, Flow[Job]]) -> Callable[Concatenate[Any, P], JobHandle]:
    """As `_blocking`, for a flow that submits a job: its handle."""
    submit = _blocking(flow)

    @functools.wraps(submit)
    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        return JobHandle(self._client, submit(self, *args, **kwargs))

    return method


class _Room:
    """Some of the client's operations under a name of their own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._run = client._run


class Models(_Room):
    list = _blocking(models.list_models)
    describe = _blocking(models.describe)
    import_onnx = _blocking(models.import_onnx)
    delete = _blocking(models.delete)
    label = _blocking(models.label)


class Data(_Room):
    upload = _submitting(datasets.upload)
    prepare = _submitting(datasets.prepare)
    list = _blocking(datasets.list_datasets)
    describe = _blocking(datasets.describe)
    delete = _blocking(datasets.delete)


class Jobs(_Room):
    list = _blocking(jobs.list_jobs)
    get = _blocking(jobs.get)
    cancel = _blocking(jobs.cancel)
    pause = _blocking(jobs.pause)
    resume = _blocking(jobs.resume)
    clone = _blocking(training.clone)
    workers = _blocking(jobs.workers)
    explain = _submitting(explanation_jobs.submit_explain)
    attack = _submitting(explanation_jobs.submit_attack)
    robustness = _submitting(explanation_jobs.submit_robustness)
    result = _blocking(explanation_jobs.result)

    def watch(
        self, job_id: str, *, cursor: str = "", timeout_s: float | None = None
    ) -> Iterator[Event]:
        """A job's events, those of the past first, then live until it ends; each once.

        Lost connections are made good from the last event seen.

        Args:
            job_id: the job.
            cursor: of an event; only those after it are given.
            timeout_s: for the whole watch; DeadlineExceeded is raised after it.
        """
        return self._client._watch(Watching(job_id, cursor), timeout_s)

    def handle(self, job_id: str) -> JobHandle:
        """The handle that `train` returned for this job."""
        return JobHandle(self._client, self.get(job_id))


class JobHandle:
    """A job to watch, wait for or cancel. `job` is its record as last seen."""

    def __init__(self, client: Client, job: Job) -> None:
        self._client = client
        self.job = job

    @property
    def id(self) -> str:
        return self.job.id

    def watch(self, *, cursor: str = "", timeout_s: float | None = None) -> Iterator[Event]:
        """The job's events until it ends; see `Jobs.watch`."""
        return self._client.jobs.watch(self.id, cursor=cursor, timeout_s=timeout_s)

    def wait(self, *, timeout_s: float | None = None) -> Job:
        """Wait for the end, good or bad, and return the record: look at its `state`.

        Of a job that succeeded also for its model: when this returns, `infer` works, but for
        what nobody serves: a trial of a search, or a version that is gone or has had its time.
        """
        job = self.refresh()
        if not job.state.is_final:
            for _ in self.watch(timeout_s=timeout_s):
                pass
            job = self.refresh()
        self._client._run(serving.wait_for_model(job))
        return job

    def refresh(self) -> Job:
        """The record as it stands now."""
        self.job = self._client.jobs.get(self.id)
        return self.job

    def result(self) -> JobResult:
        """What it has left, once it has succeeded."""
        return self._client.jobs.result(self.id)

    def cancel(self) -> Job:
        """Stop the job; one that has ended stays as it is."""
        self.job = self._client.jobs.cancel(self.id)
        return self.job

    def pause(self) -> Job:
        """Hold the job until it is resumed."""
        self.job = self._client.jobs.pause(self.id)
        return self.job

    def resume(self) -> Job:
        """Let the paused job go on where it was."""
        self.job = self._client.jobs.resume(self.id)
        return self.job


class Client:
    """Everything Wintergarden does, at one address.

    Args:
        address: of the gateway, host:port or unix:/path; an inference service's own address
            serves `infer`, `metadata` and `index`, and is the fastest path.
        api_key: sent as a bearer token when given.
        credentials: for TLS; default: none.
        retry_for_s: how long calls that may be repeated are, while the server is unavailable.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        api_key: str = "",
        credentials: grpc.ChannelCredentials | None = None,
        retry_for_s: float = 10.0,
    ) -> None:
        self.address = address
        self._retry_for_s = retry_for_s
        self._stubs = Stubs(
            grpc.secure_channel(address, credentials, options_for(address))
            if credentials
            else grpc.insecure_channel(address, options_for(address)),
            api_key,
        )
        self._memory: dict[tuple[str, bytes], Message] = {}
        self.models = Models(self)
        self.data = Data(self)
        self.jobs = Jobs(self)

    infer = _blocking(inference.infer)
    metadata = _blocking(inference.metadata)
    index = _blocking(inference.index)
    is_model_ready = _blocking(inference.is_model_ready)
    wait_until_served = _blocking(inference.wait_until_served)
    is_server_ready = _blocking(inference.is_server_ready)
    architectures = _blocking(training.architectures)
    datasets = _blocking(training.datasets)
    explain = _blocking(explanation.explain)
    explanation_methods = _blocking(explanation.list_methods)
    attack = _blocking(attacks.attack)
    robustness = _blocking(attacks.robustness)
    analyse = _blocking(analysis.analyse)
    statistics = _blocking(inference.statistics)

    def train(
        self,
        architecture: str,
        dataset: str,
        hyperparameters: Mapping[str, Any] | None = None,
        **options: Unpack[TrainingOptions],
    ) -> JobHandle:
        """Queue a training job; see `wintergarden.client.training.submit`."""
        flow = training.submit(architecture, dataset, hyperparameters, **options)
        return JobHandle(self, self._run(flow))

    def search(
        self,
        architecture: str,
        dataset: str,
        space: Mapping[str, Any],
        hyperparameters: Mapping[str, Any] | None = None,
        **options: Unpack[SearchOptions],
    ) -> JobHandle:
        """Queue a search of hyperparameters; see `wintergarden.client.training.search`."""
        flow = training.search(architecture, dataset, space, hyperparameters, **options)
        return JobHandle(self, self._run(flow))

    def generate(
        self,
        model: str,
        prompt: str | Sequence[int] = "",
        *,
        version: int = 0,
        timeout_s: float | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Iterator[Piece]:
        """Have a language model go on with a text, token by token as it writes.

            for piece in wintergarden.generate("lstm-python-source", "def main(", seed=1):
                print(piece.text, end="", flush=True)

        Whoever stops reading stops the writing (`close` of the iterator does it at once).

        Args:
            model: its name, or that of the family whose step graph writes.
            prompt: to go on with; a text, or ids of the model's vocabulary.
            version: 0 is the latest.
            timeout_s: for the whole text; DeadlineExceeded is raised after it.
            **options: see `SamplingOptions`.

        Raises:
            InvalidArgument: an option or the prompt is not what the model takes.
            NotFound: no such model or version.
            Overloaded: too many texts wait already; `retry_after_s` says when to come again.
            Unsupported: the model writes no texts.
        """
        name = self._run(generation.writer(model, version=version))
        return self._generate(generation.request(name, prompt, version, options), timeout_s)

    def close(self) -> None:
        self._stubs.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = flow.send(None)
                    continue
                if isinstance(step, Work):
                    step = flow.send(step.do())
                    continue
                try:
                    response = self._perform(step)
                except WintergardenError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(response)
        except StopIteration as stop:
            result: T = stop.value
            return result
        except InvalidArgument:
            self._memory.clear()  # what we remember of the model may be why
            raise
        finally:
            flow.close()

    def _perform(self, call: Call) -> Message:
        if call.is_memorable and (known := self._memory.get(call.key)):
            return known
        patience = Patience(min(self._retry_for_s, call.timeout_s) if call.is_repeatable else 0)
        give_up_at = time.monotonic() + call.timeout_s
        while True:
            try:
                response: Message = self._stubs[call.method](
                    call.request,
                    timeout=give_up_at - time.monotonic(),
                    metadata=self._stubs.metadata,
                )
            except grpc.RpcError as exc:
                time.sleep(patience.delay_s(from_rpc_error(exc)))
            else:
                if call.is_memorable:
                    self._memory[call.key] = response
                return response

    def _generate(self, request: Message, timeout_s: float | None) -> Iterator[Piece]:
        patience = Patience(self._retry_for_s)
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        has_begun = False
        while True:
            stream = self._stubs[generation.STREAM](
                iter([request]),
                timeout=None if give_up_at is None else give_up_at - time.monotonic(),
                metadata=(*self._stubs.metadata, *generation.METADATA),
            )
            try:
                for response in stream:
                    has_begun = True
                    yield generation.read(response)
            except grpc.RpcError as exc:
                error = from_rpc_error(exc)
                if has_begun:
                    raise error from exc
                time.sleep(patience.delay_s(error))
            else:
                return
            finally:
                stream.cancel()

    def _watch(self, watching: Watching, timeout_s: float | None) -> Iterator[Event]:
        patience = Patience(max(self._retry_for_s, 60.0))
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        while not watching.has_ended:
            stream = self._stubs[jobs.WATCH](
                watching.request(),
                timeout=None if give_up_at is None else give_up_at - time.monotonic(),
                metadata=self._stubs.metadata,
            )
            try:
                before = watching.cursor
                for response in stream:
                    patience.renew()
                    yield watching.accept(response)
                if watching.cursor == before and not watching.has_ended:
                    if self.jobs.get(watching.job_id).state.is_final:
                        return
                    time.sleep(patience.delay_s(Unavailable("the server ended the watch")))
            except grpc.RpcError as exc:
                time.sleep(patience.delay_s(from_rpc_error(exc)))
            finally:
                stream.cancel()


def connect(
    address: str = DEFAULT_ADDRESS,
    *,
    api_key: str = "",
    credentials: grpc.ChannelCredentials | None = None,
    retry_for_s: float = 10.0,
) -> Client:
    """The blocking client; see `Client`. Connects with the first call.

    >>> with connect("127.0.0.1:8500") as wintergarden:  # doctest: +SKIP
    ...     wintergarden.infer("lenet5-mnist-5k", image)["probabilities"]
    """
    return Client(address, api_key=api_key, credentials=credentials, retry_for_s=retry_for_s)
