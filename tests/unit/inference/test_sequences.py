"""Sequences of many clients on one model: nobody ever meets anybody else's state."""

import gc
import queue
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf import text_format

from services.inference.scheduling.engine import Engine, Plan
from services.inference.scheduling.scheduler import SequenceControl
from services.inference.scheduling.statistics import Failure
from services.inference.scheduling.timer import Timer
from services.inference.sequences.plan import SequencePlan, own_tensors
from services.inference.sequences.scheduler import SequenceScheduler
from wintergarden.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    InvalidTensor,
    Overloaded,
    Unavailable,
    Unsupported,
)
from wintergarden.wire import model_config_pb2 as pb

# The answer is the state after the request: what came before, times three, plus x. It also says
# what the model was told about the sequence.
GRAPH = """accumulator (int64[n, 1] x, int32[n, 1] start, float[n, 1] end, bool[n, 1] ready,
                        uint64[n, 1] corrid, int64[n, 1] sum)
    => (int64[n, 1] y, int64[n, 4] told, int64[n, 1] new_sum)
    <int64[1, 1] three = {3}>
    { tripled = Mul (sum, three)  y = Add (tripled, x)  new_sum = Identity (y)
      s = Cast <to = 7> (start)  e = Cast <to = 7> (end)  r = Cast <to = 7> (ready)
      c = Cast <to = 7> (corrid)  told = Concat <axis = 1> (s, e, r, c) }"""
CONFIG = """
    name: "accumulator" max_batch_size: 8
    input { name: "x" data_type: TYPE_INT64 dims: 1 }
    output { name: "y" data_type: TYPE_INT64 dims: 1 }
    output { name: "told" data_type: TYPE_INT64 dims: 4 }
    sequence_batching {
      max_sequence_idle_microseconds: 5000000
      oldest { max_candidate_sequences: 4 }
      control_input { name: "start" control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } }
      control_input { name: "end" control { kind: CONTROL_SEQUENCE_END fp32_false_true: [0, 1] } }
      control_input { name: "ready" control { kind: CONTROL_SEQUENCE_READY bool_false_true: [false, true] } }
      control_input { name: "corrid" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
      state { input_name: "sum" output_name: "new_sum" data_type: TYPE_INT64 dims: 1 }
    }
"""  # noqa: E501


def configured(text=CONFIG, **changes):
    config = text_format.Parse(text, pb.ModelConfig())
    config.MergeFrom(pb.ModelConfig(**changes))
    return config


def no_files(name):
    raise AssertionError(f"{name} was not asked for")


class Asked:
    """A request for one row of `x` that keeps what it is told."""

    def __init__(self, x, sequence_id=1, *, start=False, end=False, rows=1, timeout_us=0):
        self.feeds = [np.full((rows, 1), x, np.int64)]
        self.rows, self.form = rows, None
        self.arrived_ns = time.perf_counter_ns()
        self.priority, self.timeout_us = 0, timeout_us
        self.sequence = SequenceControl(sequence_id, start, end) if sequence_id else None
        self.is_abandoned = False
        self.told = []
        self.done = threading.Event()

    def answer(self, outputs, *, is_final=True):
        self._tell(outputs)

    def refuse(self, error):
        self._tell(error)

    def _tell(self, what):
        self.told.append(what)
        self.done.set()

    @property
    def result(self):
        assert self.done.wait(30), "no answer"
        assert len(self.told) == 1, "more than one answer"
        return self.told[0]

    @property
    def y(self):
        assert not isinstance(self.result, Exception), self.result
        return self.result[0].item()


class Clock:
    """A timer that rings when the test says so."""

    class Alarm:
        def __init__(self, callback):
            self.callback, self.due_ns = callback, None

        def set(self, due_ns):
            self.due_ns = due_ns

    def __init__(self):
        self.now_ns, self.alarms = time.perf_counter_ns(), []

    def __call__(self):
        return self.now_ns

    def alarm(self, callback):
        self.alarms.append(self.Alarm(callback))
        return self.alarms[-1]

    def forward(self, seconds):
        self.now_ns += int(seconds * 1e9)
        while due := [a for a in self.alarms if a.due_ns is not None and a.due_ns <= self.now_ns]:
            for alarm in due:
                alarm.due_ns = None
                alarm.callback()


class Gate:
    """A session whose runs wait until the gate is open; remembers the rows of its runs."""

    def __init__(self, session):
        self.session, self.opened, self.runs = session, threading.Event(), []
        self.inputs, self.outputs = session.inputs, session.outputs
        self.opened.set()
        self.poison = None

    def run(self, feeds, outputs=None):
        assert self.opened.wait(30)
        self.runs.append(len(feeds["x"]))
        if self.poison is not None and (feeds["x"] == self.poison).any():
            raise InvalidTensor("input 'x': poison")
        return self.session.run(feeds, outputs)


@pytest.fixture
def world(session_of):
    class World:
        def __init__(self, inline_rows=8, config=None, **plan):
            self.session = Gate(session_of(GRAPH))
            self.clock = Clock()
            inputs = tuple(spec.name for spec in self.session.inputs)
            self.engine = Engine(
                self.session, Plan(inputs, max_rows=8, inline_rows=inline_rows), "accumulator"
            )
            made = SequencePlan.of(
                config or configured(), self.session.inputs, self.session.outputs, no_files
            )
            self.scheduler = SequenceScheduler(
                self.engine,
                replace(made, **plan),
                "accumulator",
                timer=self.clock,
                now_ns=self.clock,
            )

        def ask(self, *args, **options):
            request = Asked(*args, **options)
            self.scheduler.submit([request])
            return request

        def failures(self):
            return self.scheduler.statistics.read().failures

    return World


def test_a_sequence_keeps_its_state_and_others_have_their_own(world):
    w = world()
    assert [w.ask(1, 7, start=True).y, w.ask(2, 8, start=True).y] == [1, 2]
    assert [w.ask(1, 7).y, w.ask(2, 8).y] == [4, 8]
    assert [w.ask(1, 7, end=True).y, w.ask(2, 8).y] == [13, 26]


def test_the_model_is_told_where_a_request_stands(world):
    w = world()
    told = [
        w.ask(0, 77, start=True).result[1],
        w.ask(0, 77).result[1],
        w.ask(0, 77, end=True).result[1],
    ]
    np.testing.assert_array_equal(
        np.concatenate(told), [[1, 0, 1, 77], [0, 0, 1, 77], [0, 1, 1, 77]]
    )


def test_clients_see_neither_states_nor_controls(world):
    inputs, outputs = own_tensors(configured())
    assert inputs == {"start", "end", "ready", "corrid", "sum"}
    assert outputs == {"new_sum"}
    assert len(world().ask(1, start=True).result) == 2


def test_a_state_that_is_also_an_output_is_shown(world):
    config = configured()
    config.output.add(name="new_sum", data_type=pb.TYPE_INT64, dims=[1])
    assert own_tensors(config)[1] == frozenset()
    assert world(config=config).ask(5, start=True).result[2].item() == 5


def test_what_arrives_together_runs_together_one_request_of_each_sequence(world):
    w = world()
    requests = [Asked(i, i, start=True) for i in (1, 2, 3)]
    requests += [Asked(10 * i, i) for i in (1, 2, 3)]
    w.scheduler.submit(requests)
    assert [r.y for r in requests] == [1, 2, 3, 13, 26, 39]
    assert w.session.runs == [3, 3]


@pytest.mark.parametrize("inline_rows", [0, 8])
def test_a_thousand_queued_requests_of_one_sequence_run_in_order(world, inline_rows):
    w = world(inline_rows)
    w.session.opened.clear() if not inline_rows else None
    requests = [Asked(i, start=i == 0) for i in range(1000)]
    w.scheduler.submit(requests)
    w.session.opened.set()
    expected = np.int64(0)
    with np.errstate(over="ignore"):
        for i, request in enumerate(requests):
            expected = expected * np.int64(3) + np.int64(i)
            assert request.y == expected
    assert w.session.runs == [1] * 1000


@pytest.mark.parametrize("sequence_id", [5, "five"])
def test_a_sequence_must_start(world, sequence_id):
    w = world()
    error = w.ask(1, sequence_id).result
    assert isinstance(error, InvalidArgument)
    assert str(error).startswith(
        f"inference request for sequence {sequence_id} to model 'accumulator' must specify the "
        "START flag on the first request of the sequence"
    )
    assert w.failures() == {Failure.OTHER: 1}


def test_nothing_is_left_of_a_sequence_that_has_ended(world):
    w = world()
    w.ask(1, start=True, end=True)
    assert not w.scheduler.holds(1)
    assert isinstance(w.ask(1).result, InvalidArgument)
    assert w.ask(1, start=True).y == 1


def test_a_start_begins_anew_behind_what_is_queued(world):
    w = world(inline_rows=0)
    w.session.opened.clear()
    requests = [Asked(1, start=True), Asked(2), Asked(5, start=True), Asked(6)]
    w.scheduler.submit(requests)
    w.session.opened.set()
    assert [r.y for r in requests] == [1, 5, 5, 21]


@pytest.mark.parametrize(
    ("request_of", "complaint"),
    [
        (lambda: Asked(1, sequence_id=None), "non-zero or non-empty correlation ID"),
        (lambda: Asked(1, start=True, rows=2), "batch-size 1"),
        (lambda: Asked(1, "a name", start=True), "does not fit the model's input 'corrid'"),
        (lambda: Asked(1, -1, start=True), "allowed are whole numbers up to"),
    ],
)
def test_requests_that_no_sequence_can_have(world, request_of, complaint):
    w = world()
    request = request_of()
    w.scheduler.submit([request])
    assert isinstance(request.result, InvalidArgument)
    assert complaint in str(request.result)
    assert w.ask(1, 2, start=True).y == 1


def test_a_failed_request_ends_its_sequence_and_no_other(world):
    w = world(inline_rows=0)
    w.session.poison = 666
    w.ask(1, 1, start=True).result, w.ask(1, 2, start=True).result
    w.session.opened.clear()
    bad, behind, other = Asked(666, 1), Asked(2, 1), Asked(2, 2)
    again = Asked(9, 1, start=True)
    w.scheduler.submit([bad, behind, other, again])
    w.session.opened.set()
    assert isinstance(bad.result, InvalidTensor)
    assert isinstance(behind.result, InvalidArgument)
    assert other.y == 5
    assert again.y == 9


def test_a_request_cancelled_in_the_queue_never_runs_and_ends_its_sequence(world):
    w = world(inline_rows=0)
    w.session.opened.clear()
    requests = [Asked(1, start=True), Asked(2), Asked(3)]
    w.scheduler.submit(requests)
    requests[1].is_abandoned = True
    w.session.opened.set()
    assert requests[0].y == 1
    assert isinstance(requests[1].result, Cancelled)
    assert isinstance(requests[2].result, InvalidArgument)
    assert w.session.runs == [1]
    assert not w.scheduler.holds(1)


def test_a_request_cancelled_while_it_runs_ends_its_sequence(world):
    w = world(inline_rows=0)
    w.session.opened.clear()
    first = w.ask(1, start=True)
    first.is_abandoned = True
    w.session.opened.set()
    assert first.done.wait(30)
    deadline = time.monotonic() + 10
    while w.scheduler.holds(1) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert isinstance(w.ask(2).result, InvalidArgument)


def test_an_answer_that_cannot_be_sent_ends_the_sequence(world):
    class Broken(Asked):
        def answer(self, outputs, *, is_final=True):
            raise RuntimeError("this answer cannot be encoded")

    w = world()
    request = Broken(1, start=True)
    w.scheduler.submit([request])
    assert isinstance(request.result, RuntimeError)
    assert not w.scheduler.holds(1)


def test_an_idle_sequence_expires_and_its_id_starts_from_nothing(world):
    w = world()
    w.ask(1, 1, start=True)
    w.clock.forward(4.9)
    assert w.ask(1, 1).y == 4
    w.ask(1, 2, start=True)
    w.clock.forward(4.9)
    assert w.ask(1, 1).y == 13
    w.clock.forward(0.2)
    assert [w.scheduler.holds(1), w.scheduler.holds(2)] == [True, False]
    w.clock.forward(5)
    assert isinstance(w.ask(1, 1).result, InvalidArgument)
    assert w.ask(1, 1, start=True).y == 1


def test_a_sequence_with_a_request_under_way_is_not_idle(world):
    w = world(inline_rows=0)
    w.session.opened.clear()
    requests = [Asked(1, start=True), Asked(2)]
    w.scheduler.submit(requests)
    w.clock.forward(60)
    w.session.opened.set()
    assert [r.y for r in requests] == [1, 5]
    assert w.ask(0).y == 15


def test_more_sequences_than_candidates_wait_for_one_to_end_or_expire(world):
    w = world()
    assert [w.ask(i, i, start=True).y for i in (1, 2, 3, 4)] == [1, 2, 3, 4]
    fifth, sixth = w.ask(5, 5, start=True), w.ask(6, 6, start=True)
    assert not fifth.told
    assert w.scheduler.waiting == 2
    w.ask(0, 2, end=True)
    assert fifth.y == 5
    assert not sixth.told
    w.clock.forward(6)
    assert sixth.y == 6


def test_a_new_sequence_of_a_busy_id_stands_behind_those_that_wait(world):
    w = world(inline_rows=0, max_candidates=1)
    w.session.opened.clear()
    first = [Asked(1, 1, start=True, end=True), Asked(2, 1, start=True, end=True)]
    other = Asked(3, 2, start=True, end=True)
    w.scheduler.submit([first[0], first[1], other])
    order = []
    for request in (*first, other):
        request.done.set = lambda r=request, s=request.done.set: (order.append(r), s())
    w.session.opened.set()
    assert [r.y for r in (*first, other)] == [1, 2, 3]
    assert order == [first[0], other, first[1]]


def test_a_full_queue_refuses_newcomers_first(world):
    w = world(inline_rows=0, max_candidates=1, max_waiting=2)
    w.session.opened.clear()
    started = w.ask(1, 1, start=True)
    queued = [w.ask(i, 1) for i in (2, 3)]
    newcomer = w.ask(1, 2, start=True)
    assert isinstance(newcomer.result, Overloaded)
    more = [w.ask(i, 1) for i in (4, 5)]
    one_too_many, after = w.ask(6, 1), w.ask(7, 1)
    assert isinstance(one_too_many.result, Overloaded)
    assert isinstance(after.result, Overloaded)
    w.session.opened.set()
    assert [r.y for r in (started, *queued, *more)] == [1, 5, 18, 58, 179]
    # The sixth is missing, and a seventh without it would be wrong.
    assert isinstance(w.ask(7, 1).result, InvalidArgument)
    assert w.failures()[Failure.REJECTED] == 3


def test_cancelled_requests_make_room(world):
    w = world(max_candidates=1, max_waiting=3)
    w.ask(1, 1, start=True)
    leaving = [w.ask(1, i, start=True) for i in (2, 3, 4)]
    for request in leaving:
        request.is_abandoned = True
    staying = w.ask(5, 5, start=True)
    assert all(isinstance(r.result, Cancelled) for r in leaving)
    w.ask(0, 1, end=True)
    assert staying.y == 5
    assert w.session.runs == [1, 1, 1]


def test_a_queue_of_nothing_but_cancelled_sequences_is_no_burden(world):
    w = world(max_candidates=1, max_waiting=5000)
    w.ask(1, 1, start=True)
    leaving = [w.ask(1, i, start=True) for i in range(2, 3000)]
    for request in leaving:
        request.is_abandoned = True
    last = w.ask(7, 9999, start=True)
    w.ask(0, 1, end=True)
    assert last.y == 7


def test_a_timeout_is_told_at_once_and_ends_the_sequence(world):
    w = world(inline_rows=0)
    w.session.opened.clear()
    first, late, behind = Asked(1, start=True), Asked(2, timeout_us=50_000), Asked(3)
    w.scheduler.submit([first, late, behind])
    w.clock.forward(0.04)
    assert not late.told
    w.clock.forward(0.04)
    assert isinstance(late.result, DeadlineExceeded)
    assert not first.told
    w.session.opened.set()
    assert first.y == 1
    assert isinstance(behind.result, InvalidArgument)
    assert w.session.runs == [1]


def test_closing_lets_sequences_go_on_until_they_end(world):
    w = world()
    w.ask(1, 1, start=True), w.ask(2, 2, start=True)
    w.scheduler.close()
    assert not w.scheduler.is_drained
    assert w.ask(1, 1).y == 4
    assert w.ask(1, 1, end=True).y == 13
    assert not w.scheduler.is_drained
    w.clock.forward(5)
    assert w.scheduler.is_drained
    assert w.ask(5, 3, start=True, end=True).y == 5, "a late request is still answered"


def test_draining_ends_sequences_that_never_do(world):
    w = world(inline_rows=0, drain_s=1.0)
    w.session.opened.clear()
    requests = [Asked(1, start=True), Asked(2), Asked(3)]
    w.scheduler.submit(requests)
    w.scheduler.close()
    w.clock.forward(1)
    assert isinstance(requests[1].result, Unavailable)
    w.session.opened.set()
    assert requests[0].y == 1
    deadline = time.monotonic() + 10
    while not w.scheduler.is_drained and time.monotonic() < deadline:
        time.sleep(0.001)
    assert w.scheduler.is_drained


def test_clients_on_threads_of_their_own(session_of):
    session = session_of(GRAPH)
    names = tuple(spec.name for spec in session.inputs)
    engine = Engine(session, Plan(names, max_rows=8, threads=2), "accumulator")
    plan = SequencePlan.of(configured(), session.inputs, session.outputs, no_files)
    scheduler = SequenceScheduler(engine, plan, "accumulator", timer=Timer())
    faults = []

    def client(number):
        rng = np.random.default_rng(number)
        for turn in range(20):
            total, values = 0, rng.integers(1, 9, rng.integers(1, 6))
            for i, x in enumerate(values):
                ends = i == len(values) - 1
                request = Asked(x, number, start=i == 0, end=ends)
                scheduler.submit([request])
                total = total * 3 + int(x)
                if request.y != total:
                    faults.append((number, turn, i))

    threads = [threading.Thread(target=client, args=(i,)) for i in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults
    scheduler.close()
    assert scheduler.waiting == 0


def test_ids_change_hands_between_clients_that_leave(session_of, seconds=1.0):
    """Clients end, cancel, leave without a word, and the next one takes their id at once."""
    session = session_of(GRAPH)
    names = tuple(spec.name for spec in session.inputs)
    engine = Engine(session, Plan(names, max_rows=8, threads=3), "accumulator")
    config = configured()
    config.sequence_batching.max_sequence_idle_microseconds = 2_000
    config.sequence_batching.oldest.max_candidate_sequences = 5
    plan = SequencePlan.of(config, session.inputs, session.outputs, no_files)
    scheduler = SequenceScheduler(engine, plan, "accumulator", timer=Timer())
    ids, faults, counts = queue.SimpleQueue(), [], {"answered": 0, "refused": 0}
    for sequence_id in range(1, 9):
        ids.put(sequence_id)
    until = time.monotonic() + seconds

    def client(seed):
        rng = np.random.default_rng(seed)
        while time.monotonic() < until:
            sequence_id, total = ids.get(), 0
            for step in range(int(rng.integers(1, 8))):
                leaves = rng.random() < 0.15
                x = int(rng.integers(1, 100))
                request = Asked(x, sequence_id, start=step == 0, end=rng.random() < 0.2)
                if rng.random() < 0.1:
                    time.sleep(0.003)  # long enough to expire, or not
                scheduler.submit([request])
                if leaves:
                    request.is_abandoned = True
                    break
                assert request.done.wait(30), "no answer"
                (told,) = request.told
                if isinstance(told, Exception):
                    counts["refused"] += 1
                    if not (isinstance(told, InvalidArgument) and step):
                        faults.append((seed, step, told))
                    break
                total = 3 * total + x
                counts["answered"] += 1
                if told[0].item() != total:
                    faults.append((seed, step, told[0].item(), total))
                if request.sequence.is_end:
                    break
            ids.put(sequence_id)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 30)
        assert not thread.is_alive()
    assert not faults
    assert counts["answered"] > 100
    scheduler.close()
    deadline = time.monotonic() + 10
    while not scheduler.is_drained and time.monotonic() < deadline:
        time.sleep(0.01)
    assert scheduler.is_drained


def test_a_state_does_not_keep_its_neighbours_in_memory(world):
    w = world()
    w.scheduler.submit([Asked(i, i, start=True) for i in (1, 2, 3)])
    for slot in w.scheduler._slots:
        assert all(not isinstance(state.base, np.ndarray) for state in slot.states)


def test_direct_has_a_place_for_every_slot_of_the_batch(world):
    config = configured()
    config.sequence_batching.direct.minimum_slot_utilization = 0.3
    config.sequence_batching.direct.max_queue_delay_microseconds = 500
    plan = world(config=config).scheduler.plan
    assert (plan.max_candidates, plan.preferred_rows, plan.max_queue_delay_us) == (8, (3,), 500)


def test_oldest_says_what_to_wait_for(world):
    config = configured()
    config.sequence_batching.oldest.preferred_batch_size.extend([2, 4])
    config.sequence_batching.oldest.max_queue_delay_microseconds = 700
    plan = world(config=config).scheduler.plan
    assert (plan.max_candidates, plan.preferred_rows, plan.max_queue_delay_us) == (4, (2, 4), 700)


def changed(change):
    config = configured()
    change(config.sequence_batching)
    return config


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        (lambda b: setattr(b, "iterative_sequence", True), Unsupported, "iterative"),
        (
            lambda b: setattr(b.direct, "minimum_slot_utilization", float("nan")),
            InvalidArgument,
            "allowed is 0 to 1",
        ),
        (lambda b: setattr(b.state[0], "input_name", "gone"), InvalidArgument, "not in the model"),
        (lambda b: setattr(b.state[0], "output_name", "gone"), InvalidArgument, "not in the model"),
        (lambda b: setattr(b.state[0], "data_type", pb.TYPE_FP32), InvalidArgument, "FP32 [-1, 1]"),
        (lambda b: b.state[0].dims.append(4), InvalidArgument, "[-1, 1, 4]"),
        (lambda b: b.control_input.add(name="x"), InvalidArgument, "0 of control"),
        (lambda b: b.control_input[0].ClearField("control"), InvalidArgument, "give one"),
        (
            lambda b: setattr(b.control_input[0], "name", "gone"),
            InvalidArgument,
            "not in the model",
        ),
        (
            lambda b: b.control_input[0].control[0].int32_false_true.append(2),
            InvalidArgument,
            "two values",
        ),
        (
            lambda b: b.control_input[0].control[0].ClearField("int32_false_true"),
            InvalidArgument,
            "int32_false_true, fp32_false_true, bool_false_true",
        ),
        (
            lambda b: setattr(b.control_input[3].control[0], "data_type", pb.TYPE_FP32),
            InvalidArgument,
            "cannot hold a correlation id",
        ),
        (
            lambda b: b.state[0].initial_state.add(data_type=pb.TYPE_INT64, dims=[1]),
            InvalidArgument,
            "zero_data or data_file",
        ),
        (
            lambda b: b.state[0].initial_state.add(
                data_type=pb.TYPE_INT64, dims=[2], zero_data=True
            ),
            InvalidArgument,
            "[2]",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_the_graph(session_of, change, error, complaint):
    session = session_of(GRAPH)
    with pytest.raises(error) as raised:
        SequencePlan.of(changed(change), session.inputs, session.outputs, no_files)
    assert complaint in str(raised.value)


def test_the_initial_state_comes_from_a_file(session_of):
    session = session_of(GRAPH)
    config = configured()
    config.sequence_batching.state[0].initial_state.add(
        data_type=pb.TYPE_INT64, dims=[1], data_file="seven"
    )
    files = {"seven": np.array([7], np.int64).tobytes()}
    plan = SequencePlan.of(config, session.inputs, session.outputs, files.__getitem__)
    (initial,) = plan.initial_states
    np.testing.assert_array_equal(initial, [[7]])
    assert not initial.flags.writeable


def test_texts_are_ids_of_models_that_take_texts(session_of):
    graph = """named (int64[n, 1] x, string[n, 1] who, int64[n, 1] s)
        => (string[n, 1] y, int64[n, 1] t) { y = Identity (who)  t = Add (s, x) }"""
    session = session_of(graph)
    config = text_format.Parse(
        """name: "named" max_batch_size: 4 sequence_batching {
          control_input { name: "who" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } }
          state { input_name: "s" output_name: "t" data_type: TYPE_INT64 dims: 1 } }""",  # noqa: E501
        pb.ModelConfig(),
    )
    plan = SequencePlan.of(config, session.inputs, session.outputs, no_files)
    engine = Engine(session, Plan(("x", "who", "s"), inline_rows=4), "named")
    clock = Clock()
    scheduler = SequenceScheduler(engine, plan, "named", timer=clock, now_ns=clock)
    for sequence_id in ("ada", 12):
        request = Asked(1, sequence_id, start=True)
        scheduler.submit([request])
        assert request.result[0].tolist() == [[str(sequence_id)]]


def test_states_that_grow_share_runs_with_their_equals_only(session_of):
    graph = """growing (int64[n, 1] x, int64[n, t] past) => (int64[n, 1] y, int64[n, u] present)
        { present = Concat <axis = 1> (past, x)  y = ReduceSum <keepdims = 1> (present, axis) }"""
    graph = graph.replace(") => (int64[n, 1] y", ") => (int64[n, 1] y").replace(
        "        {", "        <int64[1] axis = {1}> {"
    )
    session = Gate(session_of(graph))
    config = text_format.Parse(
        """name: "growing" max_batch_size: 4 sequence_batching { direct {} state {
          input_name: "past" output_name: "present" data_type: TYPE_INT64 dims: -1
          initial_state { data_type: TYPE_INT64 dims: 0 zero_data: true name: "empty" } } }""",
        pb.ModelConfig(),
    )
    plan = SequencePlan.of(config, session.inputs, session.outputs, no_files)
    assert plan.has_open_states
    engine = Engine(session, Plan(("x", "past"), inline_rows=4), "growing")
    clock = Clock()
    scheduler = SequenceScheduler(engine, plan, "growing", timer=clock, now_ns=clock)
    first = [Asked(i, i, start=True) for i in (1, 2)]
    scheduler.submit(first)
    later = [Asked(10, 1), Asked(20, 2), Asked(3, 3, start=True)]
    scheduler.submit(later)
    assert [r.y for r in (*first, *later)] == [1, 2, 11, 22, 3]
    assert session.runs == [2, 2, 1]


def test_a_model_without_a_batch_dimension(session_of):
    session = session_of("single (int64[1] x, int64[1] s) => (int64[1] y) { y = Add (x, s) }")
    config = text_format.Parse(
        """name: "single" sequence_batching { oldest { max_candidate_sequences: 2 }
          state { input_name: "s" output_name: "y" data_type: TYPE_INT64 dims: 1 } }
          output { name: "y" data_type: TYPE_INT64 dims: 1 }""",
        pb.ModelConfig(),
    )
    plan = SequencePlan.of(config, session.inputs, session.outputs, no_files)
    engine = Engine(session, Plan(("x", "s"), max_rows=0, inline_rows=1), "single")
    clock = Clock()
    scheduler = SequenceScheduler(engine, plan, "single", timer=clock, now_ns=clock)
    requests = [Asked(i, i % 2 + 1, start=i < 2) for i in range(4)]
    for request in requests:
        request.feeds = [request.feeds[0][0]]
    scheduler.submit(requests)
    assert [r.y for r in requests] == [0, 1, 2, 4]


def test_a_state_larger_than_any_memory_is_a_mistake(session_of):
    graph = "wide (int64[n, t] x, int64[n, t] s) => (int64[n, t] y) { y = Add (x, s) }"
    session = session_of(graph)
    config = text_format.Parse(
        f"""name: "wide" max_batch_size: 4 sequence_batching {{ state {{
          input_name: "s" output_name: "y" data_type: TYPE_INT64 dims: -1
          initial_state {{ data_type: TYPE_INT64 dims: {2**62} zero_data: true }} }} }}""",
        pb.ModelConfig(),
    )
    with pytest.raises(InvalidArgument, match="larger than any memory"):
        SequencePlan.of(config, session.inputs, session.outputs, no_files)


def test_a_model_that_is_dropped_leaves_memory_at_once(session_of):
    session = Gate(session_of(GRAPH))
    engine = Engine(session, Plan(tuple(s.name for s in session.inputs), inline_rows=8), "m")
    plan = SequencePlan.of(configured(), session.inputs, session.outputs, no_files)
    scheduler = SequenceScheduler(engine, plan, "m", timer=Timer())
    request = Asked(1, start=True)
    scheduler.submit([request])
    assert request.y == 1
    scheduler.close()
    gone = [weakref.ref(scheduler), weakref.ref(session)]
    gc.disable()
    try:
        del scheduler, engine, session
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


def test_sequences_that_nobody_waits_for_any_more_leave_nothing(world):
    w = world(max_candidates=1, max_waiting=8, max_idle_s=3600.0)
    assert w.ask(1, 1, start=True).y == 1  # has the only place

    def give_up(sequence_id, *, by_timeout):
        request = Asked(1, sequence_id, start=True, timeout_us=1000 if by_timeout else 0)
        request.arrived_ns = w.clock.now_ns
        w.scheduler.submit([request])
        request.is_abandoned = not by_timeout
        w.clock.forward(0.02)
        return request

    late = [give_up(100 + i, by_timeout=True) for i in range(50)]
    assert all(isinstance(request.result, DeadlineExceeded) for request in late)
    for i in range(50):
        give_up(200 + i, by_timeout=False)
    assert len(w.scheduler._slots) <= 1 + 8
    w.ask(0, 1, end=True)
    for request in [w.ask(i, i, start=True, end=True) for i in (7, 300)]:
        assert request.done.wait(30)
    assert w.scheduler.waiting == 0


def test_gaps_in_the_queue_of_one_sequence_are_one(world):
    w = world(inline_rows=0)
    w.session.opened.clear()
    first = w.ask(1, 5, start=True)
    for _ in range(50):
        late = Asked(1, 5, start=True, timeout_us=1000)
        late.arrived_ns = w.clock.now_ns
        w.scheduler.submit([late])
        w.clock.forward(0.01)
        assert isinstance(late.result, DeadlineExceeded)
    assert len(w.scheduler._slots.get(5).queue) == 1
    orphan = w.ask(1, 5)
    w.session.opened.set()
    assert first.y == 1
    assert isinstance(orphan.result, InvalidArgument), "the sequence has ended at the gap"


def test_the_time_that_was_waited_in_vain_is_counted(world):
    w = world(max_candidates=1, max_idle_s=3600.0)
    w.ask(1, 1, start=True)
    late = Asked(1, 2, start=True, timeout_us=50_000)
    late.arrived_ns = w.clock.now_ns
    w.scheduler.submit([late])
    w.clock.forward(0.06)
    assert w.scheduler.statistics.read().failed_ns == 60_000_000
