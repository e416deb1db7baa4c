"""Metrics of a server of several processes: the sums of what each of them tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from services.inference.processes import paths
from services.inference.processes.members import Members

# Of what is the same in every process, or no amount, the largest is told.
_LARGEST = frozenset(
    {"wintergarden_load_seconds", "wintergarden_model_versions", "nv_model_load_duration_secs"}
)
_OF_A_PROCESS = ("process_", "python_")  # told apart, see `_processes`
_QUESTION_S = 5.0


class SumCollector(Collector):
    """Asks every process when Prometheus asks."""

    def __init__(self, members: Members, pids: Callable[[], Mapping[int, int]]) -> None:
        self._members = members
        self._pids = pids

    def collect(self) -> Iterator[Metric]:
        outcomes = self._members.ask(paths.METRICS, timeout_s=_QUESTION_S)
        texts = [outcome.decode() for outcome in outcomes.values() if isinstance(outcome, bytes)]
        yield from summed(texts)
        ready = GaugeMetricFamily("wintergarden_processes_ready", "Processes that answer")
        ready.add_metric([], len(self._members))
        yield ready
        yield from self._processes()

    def _processes(self) -> Iterator[Metric]:
        """CPU, memory and descriptors of each process."""
        families: dict[str, Metric] = {}
        for number, pid in self._pids().items():
            of_one = ProcessCollector("wintergarden", partial(int, pid), registry=None)
            for metric in of_one.collect():
                family = families.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type)
                )
                for sample in metric.samples:
                    family.add_sample(sample.name, {"process": str(number)}, sample.value)
        yield from families.values()


def summed(texts: list[str]) -> list[Metric]:
    """One set of metrics from several in Prometheus' text format."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for text in texts:
        for metric in text_string_to_metric_families(text):
            if metric.name.startswith(_OF_A_PROCESS):
                continue
            families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            totals = values.setdefault(metric.name, {})
            for sample in metric.samples:
                key = (sample.name, tuple(sample.labels.items()))
                before = totals.get(key)
                if before is None:
                    totals[key] = sample.value
                elif metric.name in _LARGEST:
                    totals[key] = max(before, sample.value)
                else:
                    totals[key] = before + sample.value
    for name, metric in families.items():
        metric.samples = [
            Sample(sample, dict(labels), value) for (sample, labels), value in values[name].items()
        ]
    return list(families.values())
