"""Prometheus metrics: Triton's names where Triton has one, `wintergarden_` where it has none.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md

Read from the engines when Prometheus asks, so that requests pay for no metric.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from services.inference.generation.scheduler import Generator
from services.inference.generation.statistics import FIRST_TOKEN_S
from services.inference.repository.repository import Model, Repository, State
from services.inference.scheduling.statistics import Counts, Failure

_LABELS = ("model", "version")
_NS_PER_US = 1_000
# Upper bounds of the batch-size histogram, in rows.
_BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_COUNTERS: tuple[tuple[str, str, Callable[[Counts], float]], ...] = (
    ("nv_inference_request_success", "Requests answered", lambda c: c.successes),
    ("nv_inference_count", "Rows inferred", lambda c: c.rows),
    ("nv_inference_exec_count", "Runs of the model", lambda c: c.executions),
    (
        "nv_inference_request_duration_us",
        "Time of requests from arrival to answer",
        lambda c: c.request_ns / _NS_PER_US,
    ),
    (
        "nv_inference_queue_duration_us",
        "Time requests waited",
        lambda c: c.queue_ns / _NS_PER_US,
    ),
    (
        "nv_inference_compute_input_duration_us",
        "Time of requests while their batch was put together",
        lambda c: c.input_ns / _NS_PER_US,
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "Time of requests while the model ran",
        lambda c: c.infer_ns / _NS_PER_US,
    ),
    (
        "nv_inference_compute_output_duration_us",
        "Time of requests while their batch was taken apart and answered",
        lambda c: c.output_ns / _NS_PER_US,
    ),
    ("nv_cache_num_hits_per_model", "Answers from the cache", lambda c: c.cache_hits.count),
    ("nv_cache_num_misses_per_model", "Answers not in the cache", lambda c: c.cache_misses.count),
    (
        "nv_cache_hit_duration_per_model",
        "Microseconds of finding answers in the cache",
        lambda c: c.cache_hits.ns / _NS_PER_US,
    ),
    (
        "nv_cache_miss_duration_per_model",
        "Microseconds of not finding answers in the cache, and of keeping them",
        lambda c: c.cache_misses.ns / _NS_PER_US,
    ),
)


class InferenceCollector(Collector):
    """What every served model version has done since it was loaded."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def collect(self) -> Iterator[Metric]:
        models = [(_labels(m), m, m.scheduler.statistics.read()) for m in self._repository.models()]
        for name, help_text, read in _COUNTERS:
            metric = _counter(name, help_text)
            for labels, _, counts in models:
                metric.add_sample(name, labels, read(counts))
            yield metric
        failures = _counter("nv_inference_request_failure", "Requests refused, by reason")
        pending = GaugeMetricFamily(
            "nv_inference_pending_request_count", "Requests waiting for a thread", labels=_LABELS
        )
        depth = GaugeMetricFamily(
            "wintergarden_queue_depth", "Requests waiting for a thread", labels=_LABELS
        )
        seconds = GaugeMetricFamily(
            "wintergarden_load_seconds", "Time from fetching to ready", labels=_LABELS
        )
        load = GaugeMetricFamily(
            "nv_model_load_duration_secs", "Time from fetching to ready", labels=_LABELS
        )
        sizes = HistogramMetricFamily(
            "wintergarden_batch_rows", "Rows of the runs of a model", labels=_LABELS
        )
        for labels, model, counts in models:
            values = list(labels.values())
            for reason in Failure:
                number = counts.failures.get(reason, 0)
                failures.add_sample(failures.name, {**labels, "reason": reason}, number)
            waiting = model.waiting
            pending.add_metric(values, waiting)
            depth.add_metric(values, waiting)
            seconds.add_metric(values, model.load_seconds)
            load.add_metric(values, model.load_seconds)
            sizes.add_metric(values, _buckets(counts), counts.rows)
        yield from (failures, pending, depth, load, seconds, sizes, self._states())
        yield from _generation([(labels, model) for labels, model, _ in models])

    def _states(self) -> Metric:
        states = Counter(entry.state for entry in self._repository.entries())
        metric = GaugeMetricFamily(
            "wintergarden_model_versions", "Published versions by state", labels=("state",)
        )
        for state in State:
            metric.add_metric([state.lower()], states[state])
        return metric


def _generation(models: list[tuple[dict[str, str], Model]]) -> Iterator[Metric]:
    """Of the models that write texts."""
    tokens = _counter("wintergarden_generated_tokens", "Tokens of texts that were written")
    prompts = _counter("wintergarden_prompt_tokens", "Tokens of prompts that were fed")
    active = GaugeMetricFamily(
        "wintergarden_generations", "Texts that are being written", labels=_LABELS
    )
    first = HistogramMetricFamily(
        "wintergarden_time_to_first_token_seconds",
        "From a request's arrival to its first token",
        labels=_LABELS,
    )
    for labels, model in models:
        writer = model.generator and model.generator.scheduler
        if not isinstance(writer, Generator):
            continue
        counts = writer.generated.read()
        tokens.add_sample(tokens.name, labels, counts.tokens)
        prompts.add_sample(prompts.name, labels, counts.prompt_tokens)
        active.add_metric([*labels.values()], writer.active)
        within = accumulate(counts.first_tokens)
        bounds = [*map(str, FIRST_TOKEN_S), "+Inf"]
        first.add_metric(
            [*labels.values()], [*zip(bounds, within, strict=True)], counts.first_token_ns / 1e9
        )
    yield from (tokens, prompts, active, first)


def _labels(model: Model) -> dict[str, str]:
    return {"model": model.name, "version": str(model.version)}


def _counter(name: str, help_text: str) -> Metric:
    # Triton's counters lack the suffix that prometheus_client appends to every counter.
    return Metric(name, help_text, "unknown")


def _buckets(counts: Counts) -> list[tuple[str, float]]:
    batches = counts.batches.items()
    buckets = [
        (str(float(limit)), sum(batch.runs for rows, batch in batches if rows <= limit))
        for limit in _BATCH_ROWS
    ]
    return [*buckets, ("+Inf", counts.executions)]
