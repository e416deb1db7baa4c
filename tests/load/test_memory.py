"""Memory over many requests, and over many models that come and go."""

import time

import grpc
import numpy as np
import pytest

from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire.pool import methods

METHODS = methods("inference.GRPCInferenceService")

pytestmark = pytest.mark.timeout(3600)


def slope(samples, warm):
    """Of a line through (x, MB), once a part of the samples, `warm`, has passed."""
    later = np.array(samples[int(len(samples) * warm) :])
    return float(np.polyfit(later[:, 0], later[:, 1], 1)[0])


def test_requests_leave_nothing_behind(place, sizes, transport):
    size = sizes.memory
    place.publish("m", place.telling(1))
    server = place.serve("--transport", transport)
    load = place.load(server, clients=32, requests=size.requests, rows=8)
    samples = []
    while load.is_running:
        samples.append((server.answers("m"), server.rss_mb()))
        time.sleep(max(0.05, min(1, size.requests / 1e6)))
    seen = load.seen()
    mb_per_million = 1e6 * slope(samples, warm=0.2)
    place.report(
        transport=transport,
        seen=seen,
        rss_mb=(samples[0][1], samples[-1][1]),
        mb_per_million=mb_per_million,
    )
    assert (seen.errors, seen.wrong, seen.answered) == ({}, 0, seen.sent), seen.message
    assert mb_per_million <= size.most_growth_mb_per_million


def test_models_that_come_and_go_leave_nothing_behind(place, sizes, transport):
    size = sizes.memory
    place.publish("m", place.telling(1, ballast_mb=4))
    server = place.serve("--transport", transport, "--model-control", "explicit")
    infer = pb.ModelInferRequest(model_name="m", raw_input_contents=[bytes(16)])
    infer.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    samples = []
    with grpc.insecure_channel(server.address) as channel:

        def call(name, request):
            return channel.unary_unary(METHODS[name].path)(request.SerializeToString(), timeout=60)

        for cycle in range(size.cycles):
            call("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="m"))
            for _ in range(10):
                call("ModelInfer", infer)
            call("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="m"))
            samples.append((cycle, server.rss_mb()))
    # Longer, since every load begins in a thread, and the C library keeps memory by thread.
    mb_per_cycle = slope(samples, warm=0.5)
    place.report(
        transport=transport,
        cycles=size.cycles,
        rss_mb=(samples[0][1], samples[-1][1]),
        mb_per_cycle=mb_per_cycle,
    )
    assert mb_per_cycle <= size.most_growth_mb_per_cycle
