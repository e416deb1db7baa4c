"""Ensembles of real models: the right arrays reach the right steps, whatever goes wrong."""

import itertools
import threading
import time
import weakref

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.ensembles.ensemble import Ensemble
from services.inference.ensembles.plan import EnsemblePlan, dependencies
from services.inference.repository.repository import Model
from services.inference.scheduling.engine import Engine, Plan
from services.inference.scheduling.scheduler import SequenceControl
from services.inference.scheduling.statistics import Failure, Statistics
from services.inference.scheduling.timer import Timer
from services.inference.sequences.plan import SequencePlan
from services.inference.sequences.scheduler import SequenceScheduler
from services.inference.signature import Signature
from wintergarden.errors import (
    Cancelled,
    FailedPrecondition,
    InvalidArgument,
    InvalidTensor,
    NotFound,
    Overloaded,
    Unsupported,
)
from wintergarden.runtime import TensorSpec
from wintergarden.wire import model_config_pb2 as pb

POISON = 666


class Asked:
    """A request that keeps what it is told."""

    def __init__(self, *values, sequence=None, priority=0, timeout_us=0):
        self.feeds = [None if v is None else np.array(v, np.int64).reshape(-1, 1) for v in values]
        given = [feed for feed in self.feeds if feed is not None]
        self.rows, self.form = len(given[0]), None
        self.arrived_ns = time.perf_counter_ns()
        self.priority, self.timeout_us, self.sequence = priority, timeout_us, sequence
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
    def values(self):
        assert not isinstance(self.result, Exception), self.result
        return [output.ravel().tolist() for output in self.result]


class Computing:
    """A session of one formula over int64 columns; remembers the rows of its runs."""

    def __init__(self, formula, inputs):
        self.formula, self.inputs, self.runs = formula, inputs, []

    def run(self, feeds, outputs=None):
        arrays = [feeds[name] for name in self.inputs]
        self.runs.append(len(arrays[0]))
        if any((array == POISON).any() for array in arrays):
            raise InvalidTensor("poison")
        results = self.formula(*arrays)
        return list(results) if isinstance(results, tuple) else [results]


class Recording:
    """A scheduler that keeps what it is asked until the test answers."""

    def __init__(self):
        self.asked, self.statistics, self.waiting, self.is_drained = [], Statistics(), 0, False

    def submit(self, requests):
        self.asked.extend(requests)

    def close(self):
        self.is_drained = True


class House:
    """Models by name, as a repository would find them."""

    def __init__(self):
        self.models, self.sessions = {}, {}

    def resolve(self, name, version="", sequence=None):
        if name not in self.models:
            raise NotFound(f"no model {name!r}")
        return self.models[name]

    def add(self, name, formula, inputs=("x",), outputs=("y",), **plan):
        session = self.sessions[name] = Computing(formula, inputs)
        plan = {"max_rows": 64, "inline_rows": 64} | plan
        return self.put(name, Engine(session, Plan(tuple(inputs), **plan), name), inputs, outputs)

    def put(
        self, name, scheduler, inputs=("x",), outputs=("y",), spec=("INT64", (-1, 1)), ranges=None
    ):
        signature = Signature(
            name,
            "1",
            tuple(TensorSpec(n, *spec) for n in inputs),
            tuple(TensorSpec(n, *spec) for n in outputs),
            is_rowwise=True,
            ranges=ranges or {},
        )
        self.models[name] = Model(name, 1, signature, scheduler, 0.0)
        return scheduler

    def ensemble(self, steps, inputs=("a",), outputs=("z",), name="ensemble"):
        made = Ensemble(EnsemblePlan.of(config(steps, inputs, outputs, name)), self.resolve)
        return self.put(name, made, inputs, outputs)


def config(steps, inputs=("a",), outputs=("z",), name="ensemble"):
    """Steps as `model: x=a, w=b -> y=z`."""
    made = pb.ModelConfig(name=name, platform="ensemble", max_batch_size=64)
    for tensor in inputs:
        made.input.add(name=tensor, data_type=pb.TYPE_INT64, dims=[1])
    for tensor in outputs:
        made.output.add(name=tensor, data_type=pb.TYPE_INT64, dims=[1])
    for step in steps:
        model, maps = step.split(":")
        taken, given = maps.split("->")
        added = made.ensemble_scheduling.step.add(model_name=model, model_version=-1)
        for text, target in ((taken, added.input_map), (given, added.output_map)):
            for pair in filter(None, map(str.strip, text.split(","))):
                key, _, tensor = pair.partition("=")
                target[key] = tensor
    return made


@pytest.fixture
def house():
    return House()


def submit(scheduler, *requests):
    scheduler.submit(list(requests))
    return requests


CHAIN = ["double: x=a -> y=b", "add3: x=b -> y=c", "negate: x=c -> y=z"]


def add_chain(house, **plan):
    house.add("double", lambda x: x * 2, **plan)
    house.add("add3", lambda x: x + 3, **plan)
    house.add("negate", lambda x: -x, **plan)


@pytest.mark.parametrize("inline_rows", [0, 64])
def test_steps_run_one_after_the_other(house, inline_rows):
    add_chain(house, inline_rows=inline_rows)
    (request,) = submit(house.ensemble(CHAIN), Asked([1, 2, 3]))
    assert request.values == [[-5, -7, -9]]


def test_the_order_in_the_configuration_does_not_matter(house):
    add_chain(house)
    (request,) = submit(house.ensemble(CHAIN[::-1]), Asked([1]))
    assert request.values == [[-5]]


def test_requests_that_arrive_together_run_together_in_every_step(house):
    add_chain(house)
    requests = submit(house.ensemble(CHAIN), *[Asked([i, i]) for i in range(10)])
    assert [r.values for r in requests] == [[[-2 * i - 3] * 2] for i in range(10)]
    assert [house.sessions[name].runs for name in ("double", "add3", "negate")] == [[20]] * 3


def test_arrays_are_handed_on_as_they_are(house):
    first, second = house.put("first", Recording()), house.put("second", Recording())
    ensemble = house.ensemble(["first: x=a -> y=b", "second: x=b -> y=z"])
    (request,) = submit(ensemble, Asked([1]))
    (asked,) = first.asked
    assert asked.feeds[0] is request.feeds[0]
    between, last = np.array([[2]]), np.array([[3]])
    asked.answer([between])
    assert second.asked[0].feeds[0] is between
    second.asked[0].answer([last])
    assert request.result[0] is last


def test_priority_timeout_and_sequence_are_inherited(house):
    recording = house.put("first", Recording())
    control = SequenceControl(7, is_start=True, is_end=False)
    ensemble = house.ensemble(["first: x=a -> y=z"])
    (request,) = submit(ensemble, Asked([1], sequence=control, priority=3, timeout_us=99))
    (asked,) = recording.asked
    assert (asked.priority, asked.timeout_us, asked.sequence) == (3, 99, control)
    assert not asked.is_abandoned
    request.is_abandoned = True
    assert asked.is_abandoned


def test_independent_steps_run_at_once(house):
    both = threading.Barrier(2, timeout=10)

    def meet(x):
        both.wait()
        return x

    house.add("left", meet, inline_rows=0)
    house.add("right", meet, inline_rows=0)
    house.add("sum", lambda x, w: x + w, ("x", "w"))
    steps = ["left: x=a -> y=l", "right: x=b -> y=r", "sum: x=l, w=r -> y=z"]
    (request,) = submit(house.ensemble(steps, ("a", "b")), Asked([1], [20]))
    assert request.values == [[21]]


def test_a_tensor_may_be_used_many_times_and_be_an_output_too(house):
    house.add("double", lambda x: x * 2)
    house.add("sum", lambda x, w: x + w, ("x", "w"))
    steps = ["double: x=a -> y=b", "sum: x=b, w=b -> y=c", "sum: x=a, w=c -> y=z"]
    (request,) = submit(house.ensemble(steps, outputs=("z", "b")), Asked([1]))
    assert request.values == [[5], [2]]


def test_a_step_may_have_several_outputs_and_leave_some_unused(house):
    house.add("split", lambda x: (x // 10, x % 10, x), outputs=("tens", "ones", "all"))
    house.add("negate", lambda x: -x)
    steps = ["split: x=a -> tens=t, ones=o", "negate: x=t -> y=z"]
    (request,) = submit(house.ensemble(steps, outputs=("z", "o")), Asked([42]))
    assert request.values == [[-4], [2]]


def test_an_error_names_the_step_and_hits_nobody_else(house):
    add_chain(house)
    bad, good = submit(house.ensemble(CHAIN), Asked([POISON]), Asked([1]))
    assert isinstance(bad.result, InvalidTensor)
    assert str(bad.result) == "in ensemble 'ensemble', step 'double': poison"
    assert good.values == [[-5]]
    assert house.models["ensemble"].scheduler.statistics.read().failures == {Failure.BACKEND: 1}


def test_a_fault_in_one_step_stops_the_others(house):
    left, right = house.put("left", Recording()), house.put("right", Recording())
    last = house.put("last", Recording(), ("x", "w"))
    steps = ["left: x=a -> y=l", "right: x=a -> y=r", "last: x=l, w=r -> y=z"]
    (request,) = submit(house.ensemble(steps), Asked([1]))
    left.asked[0].refuse(Overloaded("full", retry_after_s=7))
    assert isinstance(request.result, Overloaded)
    assert request.result.retry_after_s == 7
    assert right.asked[0].is_abandoned
    right.asked[0].answer([np.array([[1]])])
    right.asked[0].refuse(Cancelled("gone"))
    assert not last.asked
    assert len(request.told) == 1


def test_a_cancelled_request_goes_no_further(house):
    first = house.put("first", Recording())
    house.add("negate", lambda x: -x)
    ensemble = house.ensemble(["first: x=a -> y=b", "negate: x=b -> y=z"])
    (request,) = submit(ensemble, Asked([1]))
    request.is_abandoned = True
    first.asked[0].answer([np.array([[5]])])
    assert isinstance(request.result, Cancelled)
    assert not house.sessions["negate"].runs
    assert ensemble.statistics.read().failures == {Failure.CANCELED: 1}


def test_an_answer_that_cannot_be_sent_is_a_failure(house):
    class Broken(Asked):
        def answer(self, outputs, *, is_final=True):
            raise RuntimeError("this answer cannot be encoded")

    add_chain(house)
    ensemble = house.ensemble(CHAIN)
    (request,) = submit(ensemble, Broken([1]))
    assert isinstance(request.result, RuntimeError)
    counts = ensemble.statistics.read()
    assert (counts.successes, counts.failures) == (0, {Failure.BACKEND: 1})


@pytest.mark.parametrize("inline_rows", [0, 64])
def test_who_has_an_answer_finds_it_counted(house, inline_rows):
    class Looking(Asked):
        def answer(self, outputs, *, is_final=True):
            self.found = ensemble.statistics.read().successes
            super().answer(outputs)

    add_chain(house, inline_rows=inline_rows)
    ensemble = house.ensemble(CHAIN)
    (request,) = submit(ensemble, Looking([1]))
    assert request.done.wait(30)
    assert request.found == 1


@pytest.mark.parametrize("inline_rows", [0, 64])
def test_a_thousand_steps_do_not_exhaust_the_stack(house, inline_rows):
    house.add("add1", lambda x: x + 1, inline_rows=inline_rows)
    names = ["a", *(f"t{i}" for i in range(999)), "z"]
    steps = [f"add1: x={x} -> y={y}" for x, y in itertools.pairwise(names)]
    requests = submit(house.ensemble(steps), *[Asked([1000 + i]) for i in range(3)])
    assert [r.values for r in requests] == [[[2000 + i]] for i in range(3)]


@pytest.mark.parametrize("inline_rows", [0, 64])
def test_ensembles_of_ensembles_do_not_either(house, inline_rows):
    house.add("level0", lambda x: x + 1, inline_rows=inline_rows)
    for i in range(400):
        house.ensemble([f"level{i}: x=x -> y=y"], ("x",), ("y",), name=f"level{i + 1}")
    good, bad = submit(house.models["level400"].scheduler, Asked([1]), Asked([POISON]))
    assert good.values == [[2]]
    assert isinstance(bad.result, InvalidTensor)


def test_a_reloaded_model_answers_the_next_step(house):
    first = house.put("first", Recording())
    house.add("second", lambda x: -x)
    ensemble = house.ensemble(["first: x=a -> y=b", "second: x=b -> y=z"])
    old, new = Asked([1]), Asked([1])
    submit(ensemble, old, new)
    first.asked[0].answer([np.array([[5]])])
    house.add("second", lambda x: x + 100)
    first.asked[1].answer([np.array([[5]])])
    assert [old.values, new.values] == [[[-5]], [[105]]]


def test_a_model_that_has_gone_or_changed_is_an_error_of_the_request(house):
    first = house.put("first", Recording())
    house.add("second", lambda x: -x)
    ensemble = house.ensemble(["first: x=a -> y=b", "second: x=b -> y=z"])
    changed, gone = submit(ensemble, Asked([1]), Asked([1]))
    house.add("second", lambda x: x, inputs=("other",))
    first.asked[0].answer([np.array([[5]])])
    assert isinstance(changed.result, FailedPrecondition)
    assert "has no 'x'; load the ensemble anew" in str(changed.result)
    del house.models["second"]
    first.asked[1].answer([np.array([[5]])])
    assert isinstance(gone.result, NotFound)
    assert "in ensemble 'ensemble', step 'second'" in str(gone.result)


def test_values_that_a_step_has_no_meaning_for_hit_nobody_else(house):
    """Be they the caller's own, or what the step before made of them."""
    add_chain(house)
    house.put("double", house.models["double"].scheduler, ranges={"x": (0, 100)})
    house.put("add3", house.models["add3"].scheduler, ranges={"x": (0, 10)})
    own, made, good = submit(house.ensemble(CHAIN), Asked([-1]), Asked([6]), Asked([5]))
    told = "in ensemble 'ensemble', step {0!r}: model {0!r} version 1: input 'x': value {1}, "
    assert told.format("double", -1) + "allowed are 0 to 100" in str(own.result)
    assert told.format("add3", 12) + "allowed are 0 to 10" in str(made.result)
    assert isinstance(own.result, InvalidTensor)
    assert isinstance(made.result, InvalidTensor)
    assert good.values == [[-13]]


def test_inputs_of_a_step_that_disagree_in_rows(house):
    house.add("sum", lambda x, w: x + w, ("x", "w"))
    ensemble = house.ensemble(["sum: x=a, w=b -> y=z"], ("a", "b"))
    (request,) = submit(ensemble, Asked([1, 2], [1, 2, 3]))
    assert isinstance(request.result, InvalidTensor)


def test_statistics_and_closing(house):
    recording = house.put("first", Recording())
    ensemble = house.ensemble(["first: x=a -> y=z"])
    submit(ensemble, Asked([1, 2]))
    ensemble.close()
    assert not ensemble.is_drained
    recording.asked[0].answer([np.array([[1], [2]])])
    assert ensemble.is_drained
    counts = ensemble.statistics.read()
    assert (counts.successes, counts.rows, counts.executions) == (1, 2, 1)
    assert counts.infer_ns > 0


def test_an_unloaded_model_leaves_memory_while_the_ensemble_stays(house):
    add_chain(house)
    ensemble = house.ensemble(CHAIN)
    (request,) = submit(ensemble, Asked([1]))
    assert request.values == [[-5]]
    gone = weakref.ref(house.models.pop("add3"))
    assert gone() is None


SUM_STATE = """sum (int64[n, 1] x, int64[n, 1] s) => (int64[n, 1] y, int64[n, 1] t)
    <int64[1, 1] three = {3}> { m = Mul (s, three)  y = Add (m, x)  t = Identity (y) }"""


def add_accumulator(house, session_of):
    configuration = text_format.Parse(
        """name: "sum" max_batch_size: 8 sequence_batching { state {
          input_name: "s" output_name: "t" data_type: TYPE_INT64 dims: 1 } }""",
        pb.ModelConfig(),
    )
    session = session_of(SUM_STATE)
    plan = SequencePlan.of(configuration, session.inputs, session.outputs, lambda name: b"")
    engine = Engine(session, Plan(("x", "s"), max_rows=8, inline_rows=8), "sum")
    house.put("sum", SequenceScheduler(engine, plan, "sum", timer=Timer()))


def sequence(number, values):
    last = len(values) - 1
    return [
        Asked([x], sequence=SequenceControl(number, i == 0, i == last))
        for i, x in enumerate(values)
    ]


def test_requests_of_a_sequence_keep_their_order_behind_a_step_that_does_not(house, session_of):
    pauses = iter([0.02, 0, 0.01, 0] * 10)

    def dawdle(x):
        time.sleep(next(pauses))
        return x * 10

    house.add("dawdle", dawdle, inline_rows=0, threads=4, max_rows=1)
    add_accumulator(house, session_of)
    ensemble = house.ensemble(["dawdle: x=a -> y=b", "sum: x=b -> y=z"])
    first, second = sequence(1, [1, 2, 3, 4]), sequence(2, [5, 6, 7])
    submit(ensemble, *first, *second)
    assert [r.values[0] for r in first] == [[10], [50], [180], [580]]
    assert [r.values[0] for r in second] == [[50], [210], [700]]
    assert ensemble.waiting == 0
    assert not ensemble.holds(1)


@pytest.mark.parametrize("order", ["before", "behind"])
def test_a_request_that_fails_anywhere_ends_its_sequence(house, session_of, order):
    house.add("same", lambda x: x)
    add_accumulator(house, session_of)
    steps = ["same: x=a -> y=b", "sum: x=b -> y=z"]
    if order == "behind":
        steps = ["sum: x=a -> y=b", "same: x=b -> y=z"]
    ensemble = house.ensemble(steps)
    submit(ensemble, *sequence(1, [1, 2])[:1])
    assert ensemble.holds(1)
    # Of 3 · 1 + 663 the accumulator makes poison for the step behind it.
    bad = POISON if order == "before" else POISON - 3
    failed, behind = sequence(1, [0, bad, 3])[1:]
    again = sequence(1, [4, 0])[0]
    submit(ensemble, failed, behind, again)
    assert isinstance(failed.result, InvalidTensor)
    assert isinstance(behind.result, InvalidArgument)
    assert "START" in str(behind.result)
    assert again.values == [[4]]


def test_a_sequence_may_not_queue_for_ever(house):
    recording = house.put("first", Recording())
    ensemble = house.ensemble(["first: x=a -> y=z"])
    requests = sequence(1, list(range(ensemble.plan.max_waiting + 2)))
    submit(ensemble, *requests)
    assert [type(r.told[0]) for r in requests if r.told] == [Overloaded]
    assert ensemble.waiting == ensemble.plan.max_waiting
    assert len(recording.asked) == 1


@pytest.mark.parametrize(
    ("steps", "outputs", "complaint"),
    [
        ([], ("z",), "no step"),
        (["double: x=a -> y=b"], ("z",), "'z' is needed by the outputs of the ensemble"),
        (["double: x=q -> y=z"], ("z",), "'q' is needed by the step 'double'"),
        (["double: x=a -> y=a"], ("a",), "an input of the ensemble"),
        (["double: x=a -> y=z", "add3: x=a -> y=z"], ("z",), "has one producer"),
        (["double: x=b -> y=c", "add3: x=c -> y=b"], ("b",), "wait for each other"),
        (["double: -> y=z"], ("z",), "input_map is empty"),
        (["double: x=a ->"], ("a",), "output_map is empty"),
        ([": x=a -> y=z"], ("z",), "without model_name"),
        (["double: nothing=a -> y=z"], ("z",), "has no input 'nothing'; its inputs are 'x'"),
        (["double: x=a -> nothing=z"], ("z",), "has no output 'nothing'"),
        (["sum: x=a -> y=z"], ("z",), "leaves out 'w'"),
        (["floats: x=a -> y=z"], ("z",), "does not fit input 'x' of 'floats', which is FP32"),
        (["wide: x=a -> y=z"], ("z",), "[-1, 5]"),
        (["ensemble: x=a -> y=z"], ("z",), "composed of itself"),
        (["outer: x=a -> y=z"], ("z",), "composed of itself"),
    ],
)
def test_a_configuration_that_cannot_be(house, steps, outputs, complaint):
    add_chain(house)
    house.add("sum", lambda x, w: x + w, ("x", "w"))
    house.put("floats", Recording(), spec=("FP32", (-1, 1)))
    house.put("wide", Recording(), spec=("INT64", (-1, 5)))
    house.ensemble(["double: x=x -> y=y"], ("x",), ("y",))
    house.ensemble(["ensemble: x=x -> y=y"], ("x",), ("y",), name="outer")
    with pytest.raises(InvalidArgument) as raised:
        Ensemble(EnsemblePlan.of(config(steps, outputs=outputs)), house.resolve)
    assert complaint in str(raised.value)


def test_an_output_may_be_an_input_but_none_that_may_be_left_out(house):
    house.add("double", lambda x: x * 2)
    steps = ["double: x=a -> y=z"]
    (request,) = submit(house.ensemble(steps, ("a", "w"), ("w", "z")), Asked([1], [7]))
    assert request.values == [[7], [2]]
    made = config(steps, ("a", "w"), ("w", "z"))
    made.input[1].optional = True
    with pytest.raises(InvalidArgument, match="output 'w' is an optional input too"):
        EnsemblePlan.of(made)


def test_an_unknown_model_and_a_namespace_are_refused(house):
    with pytest.raises(NotFound, match="no model 'stranger'"):
        house.ensemble(["stranger: x=a -> y=z"])
    made = config(["double: x=a -> y=z"])
    made.ensemble_scheduling.step[0].model_namespace = "elsewhere"
    with pytest.raises(Unsupported, match="elsewhere"):
        EnsemblePlan.of(made)


def test_dependencies_are_known_from_the_configuration_alone():
    made = config(CHAIN)
    made.ensemble_scheduling.step[1].model_version = 3
    assert dependencies(made) == [("double", ""), ("add3", "3"), ("negate", "")]


FORMULAS = {"sum": np.add, "difference": np.subtract, "product": np.multiply}


@settings(deadline=None, max_examples=60)
@given(data=st.data(), inline=st.booleans(), threads=st.integers(1, 3))
def test_any_dataflow_computes_what_it_says(data, inline, threads):
    """Random graphs of two-input steps, mixed requests, some of which fail."""
    house = House()
    for name, formula in FORMULAS.items():
        house.add(
            name, formula, ("x", "w"), inline_rows=4 if inline else 0, threads=threads, max_rows=8
        )
    tensors, steps = ["a", "b"], []
    for i in range(data.draw(st.integers(1, 12))):
        left, right = data.draw(st.sampled_from(tensors)), data.draw(st.sampled_from(tensors))
        steps.append((data.draw(st.sampled_from(sorted(FORMULAS))), left, right, f"t{i}"))
        tensors.append(f"t{i}")
    outputs = data.draw(st.lists(st.sampled_from(tensors[2:]), min_size=1, unique=True))
    lines = [f"{name}: x={left}, w={right} -> y={y}" for name, left, right, y in steps]
    ensemble = house.ensemble(data.draw(st.permutations(lines)), ("a", "b"), outputs)
    values = st.sampled_from([-3, -1, 0, 1, 2, 4, POISON])
    requests = []
    for rows in data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=8)):
        columns = st.lists(values, min_size=rows, max_size=rows)
        requests.append(Asked(data.draw(columns), data.draw(columns)))
    ensemble.submit(requests)
    for request in requests:
        assert request.done.wait(30)
        known, fails = dict(zip("ab", request.feeds, strict=True)), False
        for name, left, right, y in steps:
            fails = fails or any((known[t] == POISON).any() for t in (left, right))
            known[y] = FORMULAS[name](known[left], known[right])
        assert len(request.told) == 1
        if fails:
            assert isinstance(request.result, InvalidTensor)
        else:
            for got, name in zip(request.result, outputs, strict=True):
                np.testing.assert_array_equal(got, known[name])
    ensemble.close()
    assert ensemble.is_drained
    for model in house.models.values():
        model.scheduler.close()
