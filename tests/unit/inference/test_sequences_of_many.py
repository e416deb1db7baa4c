"""Many clients, few ids, and everything that can go wrong between them, against a real model.

Whatever happens, the answered requests of a sequence must read as if the model had run for that
sequence alone.
"""

import time

import numpy as np
import onnx.parser
from google.protobuf import text_format
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.inference.scheduling.engine import Engine, Plan
from services.inference.scheduling.scheduler import SequenceControl
from services.inference.sequences.plan import SequencePlan
from services.inference.sequences.scheduler import SequenceScheduler
from wintergarden.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    InvalidTensor,
    Overloaded,
)
from wintergarden.runtime import RuntimeOptions, open_session
from wintergarden.wire import model_config_pb2 as pb

GRAPH = """<ir_version: 8, opset_import: ["" : 17]>
    accumulator (int64[n, 1] x, int64[n, 1] sum, int64[n, 1] count)
    => (int64[n, 1] y, int64[n, 1] new_sum, int64[n, 1] new_count)
    <int64[1, 1] seven = {7}, int64[1, 1] one = {1}>
    { more = Mul (sum, seven)  new_sum = Add (more, x)  new_count = Add (count, one)
      y = Mul (new_sum, new_count) }"""
CONFIG = """name: "accumulator" max_batch_size: 4
    sequence_batching {
      max_sequence_idle_microseconds: 1000000
      oldest { max_candidate_sequences: 3 }
      state { input_name: "sum" output_name: "new_sum" data_type: TYPE_INT64 dims: 1 }
      state { input_name: "count" output_name: "new_count" data_type: TYPE_INT64 dims: 1 } }"""
SESSION = open_session(
    onnx.parser.parse_model(GRAPH).SerializeToString(),
    RuntimeOptions(device="cpu", intra_op_threads=1),
)
PLAN = SequencePlan.of(
    text_format.Parse(CONFIG, pb.ModelConfig()),
    SESSION.inputs,
    SESSION.outputs,
    lambda name: b"",
    max_waiting=6,
)
POISON = 666


class Request:
    def __init__(self, x, control, timeout_us, now_ns):
        self.feeds, self.rows, self.form = [np.array([[x]], np.int64)], 1, None
        self.x, self.sequence = x, control
        self.priority, self.timeout_us, self.arrived_ns = 0, timeout_us, now_ns
        self.is_abandoned = False
        self.told = []

    def answer(self, outputs, *, is_final=True):
        self.told.append(outputs[0].item())

    def refuse(self, error):
        self.told.append(error)


class Clock:
    """Alarms ring when the machine moves the time on, and at no other time."""

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


class Steered:
    """An engine's place: keeps steps until the machine has it run some of them."""

    def __init__(self):
        inner = Engine(self, Plan(("x", "sum", "count"), max_rows=4, inline_rows=4), "accumulator")
        self.inner, self.statistics = inner, inner.statistics
        self.kept, self.is_drained = [], False
        self.leaving = None

    def run(self, feeds, outputs=None):
        if self.leaving is not None:
            self.leaving.is_abandoned = True
        if (feeds["x"] == POISON).any():
            raise InvalidTensor("poison")
        return SESSION.run(feeds, outputs)

    @property
    def waiting(self):
        return len(self.kept)

    def submit(self, steps):
        ids = [s.sequence.id for s in (*self.kept, *steps)]
        assert len(set(ids)) == len(ids), "two runs of one sequence at once"
        assert len(ids) <= PLAN.max_candidates
        self.kept.extend(steps)

    def close(self):
        self.is_drained = True


class Clients(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.clock, self.engine = Clock(), Steered()
        self.scheduler = SequenceScheduler(
            self.engine, PLAN, "accumulator", timer=self.clock, now_ns=self.clock
        )
        self.sent = {}

    @rule(
        requests=st.lists(
            st.tuples(
                st.integers(1, 6),
                st.sampled_from([1, 2, 3, 5, 8, POISON]),
                st.sampled_from(["start", "go on", "go on", "end", "start and end"]),
                st.sampled_from([0, 0, 300_000]),
            ),
            min_size=1,
            max_size=5,
        )
    )
    def send(self, requests):
        made = []
        for sequence_id, x, stage, timeout_us in requests:
            control = SequenceControl(sequence_id, "start" in stage, "end" in stage)
            request = Request(x, control, timeout_us, self.clock())
            self.sent.setdefault(sequence_id, []).append(request)
            made.append(request)
        self.scheduler.submit(made)

    @precondition(lambda self: self.engine.kept)
    @rule(number=st.integers(1, 4), data=st.data(), leaves=st.booleans())
    def run(self, number, data, leaves):
        kept = self.engine.kept
        for _ in range(min(number, len(kept)) - 1):
            kept.insert(0, kept.pop(data.draw(st.integers(0, len(kept) - 1))))
        steps, self.engine.kept = kept[:number], kept[number:]
        self.engine.leaving = steps[0].request if leaves else None
        self.engine.inner.submit(steps)
        self.engine.leaving = None

    @precondition(lambda self: any(not r.told for rs in self.sent.values() for r in rs))
    @rule(data=st.data())
    def cancel(self, data):
        waiting = [r for requests in self.sent.values() for r in requests if not r.told]
        data.draw(st.sampled_from(waiting)).is_abandoned = True

    @rule(seconds=st.sampled_from([0.02, 0.2, 0.6, 1.1]))
    def wait(self, seconds):
        self.clock.forward(seconds)

    @rule()
    def restart_all(self):
        """The ids of everybody start anew at once: the worst for a state that was left behind."""
        self.send_all("start")

    def send_all(self, stage):
        for sequence_id in range(1, 7):
            control = SequenceControl(sequence_id, stage == "start", False)
            request = Request(4, control, 0, self.clock())
            self.sent.setdefault(sequence_id, []).append(request)
            self.scheduler.submit([request])

    @invariant()
    def everyone_has_their_own_state(self):
        for requests in self.sent.values():
            state = None
            for request in requests:
                assert len(request.told) <= 1, "told twice"
                if not request.told:
                    state = "unknown"
                    continue
                (told,) = request.told
                state = self._follow(request, told, state)

    def _follow(self, request, told, state):
        if isinstance(told, Exception):
            expected = (Cancelled, DeadlineExceeded, InvalidArgument, InvalidTensor, Overloaded)
            assert isinstance(told, expected), told
            if isinstance(told, Cancelled):
                assert request.is_abandoned
            return None
        if request.sequence.is_start:
            state = (0, 0)
        assert state != "unknown", "answered before an earlier request of its sequence"
        assert state is not None, "answered although its sequence had ended"
        total, count = _wrapped(state[0] * 7 + request.x), state[1] + 1
        assert told == _wrapped(total * count)
        ends = request.sequence.is_end or request.is_abandoned
        return None if ends else (total, count)

    def teardown(self):
        self.scheduler.close()
        for _ in range(200):
            while self.engine.kept:
                steps, self.engine.kept = self.engine.kept[:4], self.engine.kept[4:]
                self.engine.inner.submit(steps)
            if self.scheduler.is_drained:
                break
            self.clock.forward(1)
        assert self.scheduler.is_drained
        assert self.scheduler.waiting == 0
        self.everyone_has_their_own_state()
        for requests in self.sent.values():
            assert all(request.told for request in requests), "no answer"


def _wrapped(value):
    return (value + 2**63) % 2**64 - 2**63


TestClients = Clients.TestCase
TestClients.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)


class Patient(RuleBasedStateMachine):
    """Clients who do nothing wrong must never be refused anything."""

    def __init__(self):
        super().__init__()
        self.clock, self.engine = Clock(), Steered()
        self.scheduler = SequenceScheduler(
            self.engine, PLAN, "accumulator", timer=self.clock, now_ns=self.clock
        )
        self.states, self.idle_s = {}, {}

    @rule(sequence_id=st.integers(1, 3), x=st.integers(-9, 9), ends=st.booleans())
    def ask(self, sequence_id, x, ends):
        idle = self.idle_s.get(sequence_id, 9)
        is_start = sequence_id not in self.states or idle >= 1
        request = Request(x, SequenceControl(sequence_id, is_start, ends), 0, self.clock())
        self.scheduler.submit([request])
        steps, self.engine.kept = self.engine.kept, []
        self.engine.inner.submit(steps)
        total, count = (0, 0) if is_start else self.states[sequence_id]
        total, count = _wrapped(total * 7 + x), count + 1
        assert request.told == [_wrapped(total * count)]
        self.states[sequence_id], self.idle_s[sequence_id] = (total, count), 0
        if ends:
            del self.states[sequence_id]

    @rule(seconds=st.sampled_from([0.3, 0.5, 0.8]))
    def wait(self, seconds):
        self.clock.forward(seconds)
        self.idle_s = {i: s + seconds for i, s in self.idle_s.items()}


TestPatient = Patient.TestCase
TestPatient.settings = settings(deadline=None, max_examples=100, stateful_step_count=40)
