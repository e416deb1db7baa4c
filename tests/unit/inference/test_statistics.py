import time

from services.inference.scheduling.statistics import Failure, Outcome, Statistics, to_message


def message_of(statistics):
    return to_message("lenet", "3", statistics.read())


def run(statistics, *, requests, rows, queue_ns, compute_ns, runs=1):
    """From its start until everybody has an answer."""
    *before_ns, output_ns = compute_ns
    statistics.executed(requests, rows, queue_ns, tuple(before_ns), runs)
    statistics.handed_out(requests, rows, output_ns, runs)


def test_nothing_has_happened_yet():
    message = message_of(Statistics())
    assert (message.name, message.version, message.last_inference) == ("lenet", "3", 0)
    assert message.inference_stats.success.count == message.inference_stats.fail.count == 0
    assert not message.batch_stats
    assert not message.response_stats


def test_every_request_of_a_batch_lives_through_all_of_it():
    statistics = Statistics()
    before = time.time_ns() // 10**6
    run(statistics, requests=3, rows=8, queue_ns=600, compute_ns=(10, 100, 20))
    run(statistics, requests=1, rows=2, queue_ns=50, compute_ns=(1, 40, 2))
    run(statistics, requests=1, rows=8, queue_ns=0, compute_ns=(2, 90, 3))
    message = message_of(statistics)
    stats = message.inference_stats
    assert (message.inference_count, message.execution_count) == (18, 3)
    assert before <= message.last_inference <= time.time_ns() // 10**6
    for duration, count, ns in (
        (stats.queue, 5, 650),
        (stats.compute_input, 5, 33),
        (stats.compute_infer, 5, 430),
        (stats.compute_output, 5, 65),
        (stats.success, 5, 1178),
    ):
        assert (duration.count, duration.ns) == (count, ns)


def test_batch_statistics_count_runs():
    statistics = Statistics()
    run(statistics, requests=3, rows=8, queue_ns=600, compute_ns=(10, 100, 20))
    run(statistics, requests=1, rows=2, queue_ns=50, compute_ns=(1, 40, 2))
    run(statistics, requests=1, rows=8, queue_ns=0, compute_ns=(2, 90, 3))
    two, eight = message_of(statistics).batch_stats
    assert (two.batch_size, eight.batch_size) == (2, 8)
    assert (eight.compute_input.count, eight.compute_input.ns) == (2, 12)
    assert (eight.compute_infer.count, eight.compute_infer.ns) == (2, 190)
    assert (eight.compute_output.count, eight.compute_output.ns) == (2, 23)
    assert two.compute_infer.count == 1


def test_the_pieces_of_a_long_request_are_runs_of_their_own():
    statistics = Statistics()
    run(statistics, requests=1, rows=19, queue_ns=0, compute_ns=(0, 30, 7), runs=3)
    message = message_of(statistics)
    assert (message.inference_count, message.execution_count) == (19, 3)
    assert message.inference_stats.compute_infer.count == 1
    (batch,) = message.batch_stats
    assert (batch.batch_size, batch.compute_infer.count, batch.compute_infer.ns) == (7, 3, 30)
    assert batch.compute_output.ns == 7


def test_failures_of_all_reasons_are_one_number_with_their_time():
    statistics = Statistics()
    statistics.failed(Failure.REJECTED, 5)
    statistics.failed(Failure.REJECTED, 6)
    statistics.failed(Failure.OTHER)
    assert statistics.read().failures == {Failure.REJECTED: 2, Failure.OTHER: 1}
    fail = message_of(statistics).inference_stats.fail
    assert (fail.count, fail.ns) == (3, 11)


def test_cache_hits_are_successes_that_computed_nothing():
    statistics = Statistics()
    run(statistics, requests=1, rows=1, queue_ns=5, compute_ns=(1, 2, 3))
    statistics.cache_miss(40)
    statistics.cache_hit(queue_ns=7, lookup_ns=30)
    message = message_of(statistics)
    stats = message.inference_stats
    assert (message.inference_count, message.execution_count) == (1, 1)
    assert (stats.success.count, stats.success.ns) == (2, 5 + 6 + 7 + 30)
    assert (stats.queue.count, stats.queue.ns) == (2, 12)
    assert stats.compute_infer.count == 1
    assert (stats.cache_hit.count, stats.cache_hit.ns) == (1, 30)
    assert (stats.cache_miss.count, stats.cache_miss.ns) == (1, 40)


def test_an_answer_that_could_not_be_sent_was_none():
    statistics = Statistics()
    run(statistics, requests=2, rows=2, queue_ns=12, compute_ns=(1, 20, 0))
    statistics.withdrawn(queue_ns=5, compute_ns=(1, 20))
    statistics.cache_hit(queue_ns=4, lookup_ns=30)
    statistics.withdrawn(queue_ns=4)
    stats = message_of(statistics).inference_stats
    for duration, count, ns in (
        (stats.queue, 1, 7),
        (stats.compute_input, 1, 1),
        (stats.compute_infer, 1, 20),
        (stats.compute_output, 1, 0),
        (stats.cache_hit, 1, 30),
    ):
        assert (duration.count, duration.ns) == (count, ns)
    assert stats.success.count == 1


def test_the_answers_of_decoupled_models_are_counted_by_number():
    statistics = Statistics()
    statistics.responded(0, Outcome.SUCCESS, infer_ns=10, output_ns=1)
    statistics.responded(0, Outcome.FAIL, infer_ns=20, output_ns=2)
    statistics.responded(1, Outcome.EMPTY, infer_ns=30, output_ns=3)
    stats = message_of(statistics).response_stats
    assert sorted(stats) == ["0", "1"]
    assert (stats["0"].compute_infer.count, stats["0"].compute_infer.ns) == (2, 30)
    assert (stats["0"].compute_output.count, stats["0"].compute_output.ns) == (2, 3)
    assert (stats["0"].success.count, stats["0"].success.ns) == (1, 11)
    assert (stats["0"].fail.count, stats["0"].fail.ns) == (1, 22)
    assert (stats["1"].empty_response.count, stats["1"].cancel.count) == (1, 0)


def test_what_was_read_does_not_change():
    statistics = Statistics()
    run(statistics, requests=1, rows=1, queue_ns=0, compute_ns=(0, 0, 0))
    statistics.responded(0, Outcome.SUCCESS, 1, 1)
    statistics.cache_hit(0, 1)
    counts = statistics.read()
    before = repr(counts)
    run(statistics, requests=1, rows=1, queue_ns=0, compute_ns=(0, 0, 0))
    statistics.responded(0, Outcome.SUCCESS, 1, 1)
    statistics.cache_hit(0, 1)
    statistics.failed(Failure.OTHER)
    assert repr(counts) == before
