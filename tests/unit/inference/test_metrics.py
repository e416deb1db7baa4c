from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.inference.metrics import InferenceCollector
from services.inference.repository.repository import Entry, Model, Repository, State
from services.inference.scheduling.engine import Engine
from services.inference.scheduling.plan import Plan
from services.inference.scheduling.statistics import Failure
from services.inference.signature import Signature


class Idle:
    def run(self, feeds, outputs=None):
        return []


def collected(statistics_of):
    repository = Repository()
    engine = Engine(Idle(), Plan(inputs=()), "model 'm' version 2")
    statistics_of(engine.statistics)
    model = Model("m", 2, Signature("m", "2", (), (), is_rowwise=True), engine, 1.5)
    repository.put(Entry("m", 2, State.READY, model=model))
    registry = CollectorRegistry()
    registry.register(InferenceCollector(repository))
    samples = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k not in ("model", "version")}
            samples[sample.name, *labels.values()] = sample.value
    return samples


def test_tritons_counters():
    def work(statistics):
        statistics.executed(requests=2, rows=5, queue_ns=9_000, compute_ns=(1_000, 20_000))
        statistics.handed_out(requests=2, rows=5, output_ns=3_000)
        statistics.cache_miss(8_000)
        statistics.cache_hit(queue_ns=1_000, lookup_ns=6_000)
        statistics.failed(Failure.REJECTED)

    samples = collected(work)
    assert samples["nv_inference_request_success",] == 3
    assert samples["nv_inference_count",] == 5
    assert samples["nv_inference_exec_count",] == 1
    assert samples["nv_inference_queue_duration_us",] == 10
    assert samples["nv_inference_compute_input_duration_us",] == 2
    assert samples["nv_inference_compute_infer_duration_us",] == 40
    assert samples["nv_inference_compute_output_duration_us",] == 6
    assert samples["nv_inference_request_duration_us",] == 10 + 48 + 6
    assert samples["nv_cache_num_hits_per_model",] == 1
    assert samples["nv_cache_num_misses_per_model",] == 1
    assert samples["nv_cache_hit_duration_per_model",] == 6
    assert samples["nv_cache_miss_duration_per_model",] == 8
    assert samples["nv_inference_pending_request_count",] == 0
    assert samples["nv_model_load_duration_secs",] == 1.5
    # Every reason is there from the start, or the first failure would not show as an increase.
    reasons = {reason: samples["nv_inference_request_failure", reason] for reason in Failure}
    assert reasons == {"REJECTED": 1, "CANCELED": 0, "BACKEND": 0, "OTHER": 0}


def test_ours():
    def work(statistics):
        for rows in (1, 3, 4, 300):
            statistics.executed(1, rows, 0, (0, 0))
        statistics.executed(1, 20, 0, (0, 0), runs=3)

    samples = collected(work)
    assert samples["wintergarden_queue_depth",] == 0
    assert samples["wintergarden_load_seconds",] == 1.5
    buckets = [samples["wintergarden_batch_rows_bucket", le] for le in ("1.0", "2.0", "4.0", "8.0")]
    assert buckets == [1, 1, 3, 6]
    assert samples["wintergarden_batch_rows_bucket", "+Inf"] == 7
    assert samples["wintergarden_batch_rows_sum",] == 328
    assert samples["wintergarden_model_versions", "ready"] == 1
