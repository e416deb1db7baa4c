"""Memory over many requests, and over many models that come and go."""

import time

import numpy as np
import pytest

pytestmark = [pytest.mark.xdist_group("load"), pytest.mark.timeout(3600)]


def slope(samples):
    """Of a line through the later four fifths of (x, MB); the first fifth warms up."""
    later = np.array(samples[len(samples) // 5 :])
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
    mb_per_million = 1e6 * slope(samples)
    place.report(
        transport=transport,
        seen=seen,
        rss_mb=(samples[0][1], samples[-1][1]),
        mb_per_million=mb_per_million,
    )
    assert (seen.errors, seen.wrong, seen.answered) == ({}, 0, seen.sent), seen.message
    assert mb_per_million <= size.most_growth_mb_per_million
