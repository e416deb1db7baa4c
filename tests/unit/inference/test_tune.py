"""The search for the best way of serving: on made-up machines, and with the real engine."""

import time

import numpy as np
import pytest

from services.inference.configuration import read_text
from services.inference.scheduling.engine import Engine, Plan
from services.inference.signature import Signature
from services.inference.tune.candidate import Candidate, powers_of_two
from services.inference.tune.load import Measurement, measure
from services.inference.tune.search import Search, Space
from wintergarden.errors import InvalidTensor
from wintergarden.runtime import TensorSpec
from wintergarden.wire.model_config_pb2 import ModelConfig


def search(space, p99_ms, rows_per_s, latency_ms):
    """On a machine whose speed and latency are formulas of the candidate."""

    def measured(candidate):
        c = candidate or Candidate(1, 1, space.max_batch_size)
        return Measurement(rows_per_s(c), latency_ms(c) / 2, latency_ms(c), 1.0)

    made = Search(space, p99_ms, measured)
    list(made.run())
    return made


SPACE = Space(cores=4, max_batch_size=64, concurrency=16)


def test_the_space_is_what_fits_the_cores_and_the_callers():
    assert SPACE.placements() == [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (4, 1)]
    assert SPACE.batch_sizes() == [1, 2, 4, 8, 64]
    assert Space(2, 0, 8).batch_sizes() == [0]
    assert Space(2, 1, 8).batch_sizes() == [1]
    assert powers_of_two(6) == [1, 2, 4, 6]


def test_threads_that_help_are_found():
    made = search(SPACE, 20, lambda c: 100 * c.threads - 10 * c.instances, lambda c: 5)
    best = made.best().candidate
    assert (best.threads, best.instances, best.delay_us) == (4, 1, 0)
    assert made.trials[0].candidate is None


def test_a_smaller_batch_is_found_where_the_largest_breaks_the_budget():
    made = search(SPACE, 20, lambda c: c.max_batch_size, lambda c: 4 * c.max_batch_size)
    assert made.best().candidate.max_batch_size == 4
    assert made.best().fits


def test_a_delay_is_found_where_it_pays():
    made = search(SPACE, 20, lambda c: 100 + c.delay_us, lambda c: 5 + c.delay_us / 1000)
    assert made.best().candidate.delay_us == 5000


def test_no_delay_is_tried_that_the_budget_forbids():
    made = search(SPACE, 1, lambda c: 100, lambda c: 0.5)
    assert {t.candidate.delay_us for t in made.trials[1:]} == {0, 200}


def test_of_ways_that_are_about_as_good_the_simplest_stays():
    made = search(SPACE, 20, lambda c: 100 + c.threads / 10, lambda c: 5)
    assert made.best().candidate is None


def test_where_nothing_fits_the_nearest_is_told():
    made = search(SPACE, 1, lambda c: 100, lambda c: 10 / c.threads)
    assert not made.best().fits
    assert made.best().candidate.threads == 4


def test_nothing_is_tried_twice():
    made = search(SPACE, 20, lambda c: 100, lambda c: 5)
    candidates = [trial.candidate for trial in made.trials]
    assert len(set(candidates)) == len(candidates)


def test_a_configuration_keeps_what_tuning_does_not_touch():
    base = read_text(
        b"""input { name: "x" data_type: TYPE_FP32 dims: 4 }
        output { name: "y" data_type: TYPE_FP32 dims: 2 label_filename: "labels.txt" }
        max_batch_size: 16 instance_group { count: 7 kind: KIND_CPU }
        dynamic_batching { preferred_batch_size: 3 priority_levels: 2 default_priority_level: 1 }
        parameters { key: "precision" value { string_value: "fp16" } }""",
        "m",
    )
    made = Candidate(threads=3, instances=2, max_batch_size=8, delay_us=200).configure(base)
    assert base.max_batch_size == 16
    assert made.output[0].label_filename == "labels.txt"
    assert made.parameters["precision"].string_value == "fp16"
    assert made.parameters["intra_op_thread_count"].string_value == "3"
    assert [(g.count, g.kind) for g in made.instance_group] == [(2, base.instance_group[0].kind)]
    assert made.max_batch_size == 8
    batching = made.dynamic_batching
    assert (batching.max_queue_delay_microseconds, batching.priority_levels) == (200, 2)
    assert not batching.preferred_batch_size


def test_a_model_that_nobody_configured_stays_free_of_what_it_does_not_need():
    made = Candidate(threads=1, instances=1, max_batch_size=8).configure(ModelConfig())
    assert not made.HasField("dynamic_batching")


SIGNATURE = Signature(
    "m",
    "1",
    (TensorSpec("x", "FP32", (-1, 1)),),
    (TensorSpec("y", "FP32", (-1, 1)),),
    is_rowwise=True,
)


class Slow:
    def run(self, feeds, outputs=None):
        time.sleep(0.01)
        if (feeds["x"] < 0).any():
            raise InvalidTensor("negative")
        return [feeds["x"]]


@pytest.mark.parametrize("inline_rows", [0, 16])
def test_callers_are_measured_as_they_are_answered(inline_rows):
    engine = Engine(Slow(), Plan(("x",), max_rows=16, inline_rows=inline_rows), "m")
    feeds = [np.ones((2, 1), np.float32)]
    found = measure(engine, SIGNATURE, feeds, concurrency=4, seconds=0.4)
    assert 10 <= found.p50_ms <= found.p99_ms
    assert 4 < found.rows_per_run <= 8
    assert 200 < found.rows_per_s < 810
    engine.close()


def test_a_refusal_ends_the_measurement():
    engine = Engine(Slow(), Plan(("x",)), "m")
    feeds = [np.full((1, 1), -1, np.float32)]
    with pytest.raises(InvalidTensor, match="negative"):
        measure(engine, SIGNATURE, feeds, concurrency=4, seconds=0.1)
    engine.close()
