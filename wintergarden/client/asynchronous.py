"""The asyncio client. One per event loop."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
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


def _awaiting(flow: Callable[P, Flow[T]]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """The method that carries a flow's calls, with the flow's own documentation."""

    @functools.wraps(flow)
    async def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = await self._run(flow(*args, **kwargs))
        return result

    signature = inspect.signature(flow)
    myself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [myself, *signature.parameters.values()]
    method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return method


def _submitting(
    flow: Callable[P, Flow[Job]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, AsyncJobHandle]]:
    """As `_awaiting`, for a flow that submits a job: its handle."""
    submit = _awaiting(flow)

    @functools.wraps(submit)
    async def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> AsyncJobHandle:
        return AsyncJobHandle(self._client, await submit(self, *args, **kwargs))

    return method


class _Room:
    """Some of the client's operations under a name of their own."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._run = client._run


class AsyncModels(_Room):
    list = _awaiting(models.list_models)
    describe = _awaiting(models.describe)
    import_onnx = _awaiting(models.import_onnx)
    delete = _awaiting(models.delete)
    label = _awaiting(models.label)


class AsyncData(_Room):
    upload = _submitting(datasets.upload)
    prepare = _submitting(datasets.prepare)
    list = _awaiting(datasets.list_datasets)
    describe = _awaiting(datasets.describe)
    delete = _awaiting(datasets.delete)


class AsyncJobs(_Room):
    list = _awaiting(jobs.list_jobs)
    get = _awaiting(jobs.get)
    cancel = _awaiting(jobs.cancel)
    pause = _awaiting(jobs.pause)
    resume = _awaiting(jobs.resume)
    clone = _awaiting(training.clone)
    workers = _awaiting(jobs.workers)
    explain = _submitting(explanation_jobs.submit_explain)
    attack = _submitting(explanation_jobs.submit_attack)
    robustness = _submitting(explanation_jobs.submit_robustness)
    result = _awaiting(explanation_jobs.result)

    def watch(
        self, job_id: str, *, cursor: str = "", timeout_s: float | None = None
    ) -> AsyncIterator[Event]:
        """A job's events, those of the past first, then live until it ends; each once.

        Lost connections are made good from the last event seen.

        Args:
            job_id: the job.
            cursor: of an event; only those after it are given.
            timeout_s: for the whole watch; DeadlineExceeded is raised after it.
        """
        return self._client._watch(Watching(job_id, cursor), timeout_s)

    async def handle(self, job_id: str) -> AsyncJobHandle:
        """The handle that `train` returned for this job."""
        return AsyncJobHandle(self._client, await self.get(job_id))


class AsyncJobHandle:
    """A job to watch, wait for or cancel. `job` is its record as last seen."""

    def __init__(self, client: AsyncClient, job: Job) -> None:
        self._client = client
        self.job = job

    @property
    def id(self) -> str:
        return self.job.id

    def watch(self, *, cursor: str = "", timeout_s: float | None = None) -> AsyncIterator[Event]:
        """The job's events until it ends; see `Jobs.watch`."""
        return self._client.jobs.watch(self.id, cursor=cursor, timeout_s=timeout_s)

    async def wait(self, *, timeout_s: float | None = None) -> Job:
        """Wait for the end, good or bad, and return the record: look at its `state`.

        Of a job that succeeded also for its model: when this returns, `infer` works, but for
        what nobody serves: a trial of a search, or a version that is gone or has had its time.
        """
        job = await self.refresh()
        if not job.state.is_final:
            async for _ in self.watch(timeout_s=timeout_s):
                pass
            job = await self.refresh()
        await self._client._run(serving.wait_for_model(job))
        return job

    async def refresh(self) -> Job:
        """The record as it stands now."""
        self.job = await self._client.jobs.get(self.id)
        return self.job

    async def result(self) -> JobResult:
        """What it has left, once it has succeeded."""
        return await self._client.jobs.result(self.id)

    async def cancel(self) -> Job:
        """Stop the job; one that has ended stays as it is."""
        self.job = await self._client.jobs.cancel(self.id)
        return self.job

    async def pause(self) -> Job:
        """Hold the job until it is resumed."""
        self.job = await self._client.jobs.pause(self.id)
        return self.job

    async def resume(self) -> Job:
        """Let the paused job go on where it was."""
        self.job = await self._client.jobs.resume(self.id)
        return self.job


class AsyncClient:
    """Everything Wintergarden does, at one address; the arguments are `Client`'s.

    Many calls at once (`asyncio.gather`) are the fast way to send many requests.
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
            grpc.aio.secure_channel(address, credentials, options_for(address))
            if credentials
            else grpc.aio.insecure_channel(address, options_for(address)),
            api_key,
        )
        self._memory: dict[tuple[str, bytes], Message] = {}
        self.models = AsyncModels(self)
        self.data = AsyncData(self)
        self.jobs = AsyncJobs(self)

    infer = _awaiting(inference.infer)
    metadata = _awaiting(inference.metadata)
    index = _awaiting(inference.index)
    is_model_ready = _awaiting(inference.is_model_ready)
    wait_until_served = _awaiting(inference.wait_until_served)
    is_server_ready = _awaiting(inference.is_server_ready)
    architectures = _awaiting(training.architectures)
    datasets = _awaiting(training.datasets)
    explain = _awaiting(explanation.explain)
    explanation_methods = _awaiting(explanation.list_methods)
    attack = _awaiting(attacks.attack)
    robustness = _awaiting(attacks.robustness)
    analyse = _awaiting(analysis.analyse)
    statistics = _awaiting(inference.statistics)

    async def train(
        self,
        architecture: str,
        dataset: str,
        hyperparameters: Mapping[str, Any] | None = None,
        **options: Unpack[TrainingOptions],
    ) -> AsyncJobHandle:
        """Queue a training job; see `wintergarden.client.training.submit`."""
        flow = training.submit(architecture, dataset, hyperparameters, **options)
        return AsyncJobHandle(self, await self._run(flow))

    async def search(
        self,
        architecture: str,
        dataset: str,
        space: Mapping[str, Any],
        hyperparameters: Mapping[str, Any] | None = None,
        **options: Unpack[SearchOptions],
    ) -> AsyncJobHandle:
        """Queue a search of hyperparameters; see `wintergarden.client.training.search`."""
        flow = training.search(architecture, dataset, space, hyperparameters, **options)
        return AsyncJobHandle(self, await self._run(flow))

    async def generate(
        self,
        model: str,
        prompt: str | Sequence[int] = "",
        *,
        version: int = 0,
        timeout_s: float | None = None,
        **options: Unpack[SamplingOptions],
    ) -> AsyncIterator[Piece]:
        """Have a language model go on with a text, token by token; see `Client.generate`.

        async for piece in wintergarden.generate("lstm-python-source", "def main("):
            print(piece.text, end="", flush=True)
        """
        name = await self._run(generation.writer(model, version=version))
        request = generation.request(name, prompt, version, options)
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
                async for response in stream:
                    has_begun = True
                    yield generation.read(response)
            except grpc.RpcError as exc:
                error = from_rpc_error(exc)
                if has_begun:
                    raise error from exc
                await asyncio.sleep(patience.delay_s(error))
            else:
                return
            finally:
                stream.cancel()

    async def close(self) -> None:
        await self._stubs.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = flow.send(None)
                    continue
                if isinstance(step, Work):
                    step = flow.send(await asyncio.to_thread(step.do))
                    continue
                try:
                    response = await self._perform(step)
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

    async def _perform(self, call: Call) -> Message:
        if call.is_memorable and (known := self._memory.get(call.key)):
            return known
        patience = Patience(min(self._retry_for_s, call.timeout_s) if call.is_repeatable else 0)
        give_up_at = time.monotonic() + call.timeout_s
        while True:
            try:
                response: Message = await self._stubs[call.method](
                    call.request,
                    timeout=give_up_at - time.monotonic(),
                    metadata=self._stubs.metadata,
                )
            except grpc.RpcError as exc:
                await asyncio.sleep(patience.delay_s(from_rpc_error(exc)))
            else:
                if call.is_memorable:
                    self._memory[call.key] = response
                return response

    async def _watch(self, watching: Watching, timeout_s: float | None) -> AsyncIterator[Event]:
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
                async for response in stream:
                    patience.renew()
                    yield watching.accept(response)
                if watching.cursor == before and not watching.has_ended:
                    if (await self.jobs.get(watching.job_id)).state.is_final:
                        return
                    await asyncio.sleep(patience.delay_s(Unavailable("the server ended the watch")))
            except grpc.RpcError as exc:
                await asyncio.sleep(patience.delay_s(from_rpc_error(exc)))
            finally:
                stream.cancel()


def connect_async(
    address: str = DEFAULT_ADDRESS,
    *,
    api_key: str = "",
    credentials: grpc.ChannelCredentials | None = None,
    retry_for_s: float = 10.0,
) -> AsyncClient:
    """The asyncio client; see `AsyncClient`. Call it inside the event loop that uses it.

    >>> async with connect_async("127.0.0.1:8500") as wintergarden:  # doctest: +SKIP
    ...     (await wintergarden.infer("lenet5-mnist-5k", image))["probabilities"]
    """
    return AsyncClient(address, api_key=api_key, credentials=credentials, retry_for_s=retry_for_s)
