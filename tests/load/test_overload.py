"""More requests than can be answered: the rest is refused at once, and nothing is done in vain."""

import shutil
import time

import pytest

pytestmark = pytest.mark.timeout(600)

_BATCH = 8
_STEPS_PER_MS = 2_000  # about; the capacity is measured, not calculated


def test_three_times_the_capacity_costs_a_tenth_of_it_at_most(place, sizes, transport):
    size = sizes.overload
    place.publish("m", place.telling(1, steps=size.run_ms * _STEPS_PER_MS))
    limits = ("--max-waiting", str(4 * _BATCH), "--max-batch-rows", str(_BATCH))
    server = place.serve("--transport", transport, *limits)

    def saturated():
        full = place.load(server, clients=3 * _BATCH, seconds=size.seconds / 2).seen()
        assert (full.errors, full.wrong) == ({}, 0), full.message
        return full.answered / full.seconds

    before = saturated()
    before_mb = server.rss_mb()
    rate, leave = size.times_capacity * before, None
    if shutil.which("h2load"):
        # Most comes from who costs little and does not look.
        leave = place.crowd(server, rate=rate - before / 2)
        rate = before / 2
    load = place.load(server, rate=rate, seconds=size.seconds)
    time.sleep(size.seconds / 15)  # the client has begun
    peak_mb = 0.0
    answered, started = server.answers("m"), time.perf_counter()
    while load.is_running:
        peak_mb = max(peak_mb, server.rss_mb())
        time.sleep(0.1)
    answered, seconds = server.answers("m") - answered, time.perf_counter() - started
    seen = load.seen()
    if leave is None:
        answered, seconds = seen.answered, seen.seconds
    else:
        leave()
    # A machine that others share is not as fast all the time: the capacity on both sides of it.
    capacities = before, saturated()
    goodput = answered / seconds / (sum(capacities) / 2)
    place.report(
        transport=transport,
        capacities=capacities,
        goodput=goodput,
        seen=seen,
        rss_mb=(before_mb, peak_mb),
    )
    assert seen.wrong == 0
    assert set(seen.errors) == {"RESOURCE_EXHAUSTED"}, seen.message
    assert seen.undetailed == 0
    assert seen.answered + seen.errors["RESOURCE_EXHAUSTED"] == seen.sent
    assert seen.rejections_p99_ms <= size.worst_rejection_p99_ms
    assert goodput >= size.least_goodput
    assert peak_mb - before_mb <= size.most_growth_mb


def test_what_nobody_waits_for_is_never_run(place, sizes, transport):
    """While one request runs, others expire or are cancelled in the queue; the rest then runs."""
    size = sizes.dead
    place.publish("m", place.telling(1))
    limits = ("--max-waiting", str(4 * size.requests), "--inline-run-ms", "0")
    server = place.serve("--transport", transport, *limits)
    ran = server.count("nv_inference_count", model="m")
    first = place.load(server, requests=1, fill=size.steps)
    place.eventually(lambda: server.count("wintergarden_calls_open", kind="unary"))
    # They give up long before the first is through.
    at_once = {"rate": 1e5, "seconds": size.requests / 1e5}
    expiring = place.load(server, **at_once, timeout_s=0.2)
    cancelling = place.load(server, **at_once, cancel_after_s=0.2)
    expired, cancelled = expiring.seen(), cancelling.seen()
    alive = first.seen()
    last = place.load(server, requests=1).seen()
    assert (alive.answered, last.answered) == (1, 1), (alive.message, last.message)
    assert expired.errors == {"DEADLINE_EXCEEDED": size.requests}
    assert cancelled.errors == {"CANCELLED": size.requests}
    counted = server.count("nv_inference_count", model="m") - ran
    refused = server.count("nv_inference_request_failure", model="m", reason="CANCELED")
    place.report(transport=transport, dead=2 * size.requests, rows_run=counted, refused=refused)
    assert counted == 2
    # Not all were read before their callers left; most were.
    assert size.requests / 2 <= refused <= 2 * size.requests
