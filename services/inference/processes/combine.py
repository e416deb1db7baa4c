"""One answer of the server from the answers of its processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.inference.repository.repository import State
from wintergarden.wire import open_inference_pb2 as pb


def all_ready(answers: Sequence[bytes], message: type[Any]) -> bytes:
    """Ready where every process is."""
    ready = bool(answers) and all(message.FromString(answer).ready for answer in answers)
    return bytes(message(ready=ready).SerializeToString())


def index(answers: Sequence[bytes], *, ready_only: bool) -> bytes:
    """A version is in the state of the first process in which it is not ready."""
    indexes = [pb.RepositoryIndexResponse.FromString(answer) for answer in answers]
    versions: dict[tuple[str, str], list[Any]] = {}
    for each in indexes:
        for model in each.models:
            versions.setdefault((model.name, model.version), []).append(model)
    whole = pb.RepositoryIndexResponse()
    for key in sorted(versions, key=lambda key: (key[0], len(key[1]), key[1])):
        states = versions[key]
        first = next((m for m in states if m.state != State.READY), states[0])
        if len(states) < len(indexes) and first.state == State.READY:
            # Some have not heard of it yet, or have forgotten it already.
            first = pb.RepositoryIndexResponse.ModelIndex(
                name=first.name, version=first.version, state=State.LOADING
            )
        if first.state == State.READY or not ready_only:
            whole.models.append(first)
    return bytes(whole.SerializeToString())


def statistics(answers: Sequence[bytes]) -> bytes:
    """Counts and times summed, by version."""
    versions: dict[tuple[str, str], pb.ModelStatistics] = {}
    for answer in answers:
        for model in pb.ModelStatisticsResponse.FromString(answer).model_stats:
            key = (model.name, model.version)
            if key in versions:
                _add(versions[key], model)
            else:
                versions[key] = model
    return bytes(pb.ModelStatisticsResponse(model_stats=versions.values()).SerializeToString())


def _add(total: pb.ModelStatistics, more: pb.ModelStatistics) -> None:
    batches = {batch.batch_size: batch for batch in total.batch_stats}
    for batch in more.batch_stats:
        if batch.batch_size in batches:
            _add_durations(batches[batch.batch_size], batch)
        else:
            total.batch_stats.append(batch)
    total.batch_stats.sort(key=lambda batch: batch.batch_size)
    for key, response in more.response_stats.items():
        _add_durations(total.response_stats[key], response)
    _add_durations(total.inference_stats, more.inference_stats)
    total.last_inference = max(total.last_inference, more.last_inference)
    total.inference_count += more.inference_count
    total.execution_count += more.execution_count
    for usage in more.memory_usage:
        _add_usage(total, usage)


def _add_durations(total: Any, more: Any) -> None:
    """Sum the fields that are durations."""
    for field in total.DESCRIPTOR.fields:
        if field.message_type is not None:
            duration, other = getattr(total, field.name), getattr(more, field.name)
            duration.count += other.count
            duration.ns += other.ns


def _add_usage(total: pb.ModelStatistics, more: pb.MemoryUsage) -> None:
    for usage in total.memory_usage:
        if (usage.type, usage.id) == (more.type, more.id):
            usage.byte_size += more.byte_size
            return
    total.memory_usage.append(more)
