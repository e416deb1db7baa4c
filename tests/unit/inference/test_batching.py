import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.inference.scheduling.batching import batches, merge, split


class Waiting:
    def __init__(self, rows: int = 1, form: object = (), *, is_abandoned: bool = False) -> None:
        self.rows = rows
        self.form = form
        self.is_abandoned = is_abandoned
        self.arrived_ns = 0
        self.feeds = [np.full((rows, 2), id(self) % 1000, np.float32), np.arange(rows)]


mixes = st.lists(st.builds(Waiting, st.integers(0, 9), st.sampled_from(["a", "b", "c"])))


@given(mixes, st.integers(0, 20))
def test_every_request_is_in_one_batch_of_its_form_within_the_limit(mix, max_rows):
    made = list(batches(mix, max_rows))
    assert sorted(map(id, (r for batch in made for r in batch))) == sorted(map(id, mix))
    for batch in made:
        assert len({r.form for r in batch}) == 1
        assert len(batch) == 1 or all(r.rows for r in batch), "no rows run alone"
        assert len(batch) == 1 or sum(r.rows for r in batch) <= max_rows


@given(mixes)
def test_requests_of_one_form_keep_their_order(mix):
    made = [r for batch in batches(mix, 12) for r in batch if r.rows]
    for form in "abc":
        in_order = [r for r in mix if r.form == form and r.rows]
        assert [r for r in made if r.form == form] == in_order


@given(st.lists(st.builds(Waiting, st.integers(1, 9)), min_size=1))
def test_splitting_undoes_merging(batch):
    for request, part in zip(batch, split(merge(batch), batch), strict=True):
        for got, fed in zip(part, request.feeds, strict=True):
            np.testing.assert_array_equal(got, fed)
