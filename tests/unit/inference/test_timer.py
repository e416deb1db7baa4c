import gc
import threading
import time
import weakref

from services.inference.scheduling.timer import Timer

MS = 1_000_000


def after(ms):
    return time.perf_counter_ns() + ms * MS


def eventually(is_so):
    until = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < until, "it never came to be so"
        time.sleep(0.001)


def test_alarms_ring_in_order_and_not_before_their_time():
    timer, rung = Timer(), []
    times = {name: after(ms) for name, ms in {"late": 60, "soon": 20, "middle": 40}.items()}
    alarms = []
    for name, due in times.items():
        alarms.append(timer.alarm(lambda n=name: rung.append((n, time.perf_counter_ns()))))
        alarms[-1].set(due)
    eventually(lambda: len(rung) == 3)
    assert [name for name, _ in rung] == ["soon", "middle", "late"]
    assert all(times[name] <= when < times[name] + 20 * MS for name, when in rung)


def test_only_the_last_time_set_counts():
    timer, rung = Timer(), []
    alarm = timer.alarm(lambda: rung.append("alarm"))
    other = timer.alarm(lambda: rung.append("other"))
    alarm.set(after(10))
    alarm.set(after(50))
    other.set(after(30))
    eventually(lambda: len(rung) == 2)
    assert rung == ["other", "alarm"]
    alarm.set(after(10))
    alarm.set(None)
    time.sleep(0.05)
    assert len(rung) == 2


def test_a_failing_callback_does_not_stop_the_others():
    timer, rung = Timer(), threading.Event()
    broken, sound = timer.alarm(lambda: 1 / 0), timer.alarm(rung.set)
    broken.set(after(1))
    sound.set(after(20))
    assert rung.wait(30)


def test_a_time_beyond_what_a_lock_can_wait_is_waited_for():
    timer, rung = Timer(), threading.Event()
    never, soon = timer.alarm(lambda: None), timer.alarm(rung.set)
    never.set(2**62)
    time.sleep(0.02)
    soon.set(after(1))
    assert rung.wait(30)
    assert never.due_ns == 2**62


def test_alarms_set_over_and_over_leave_nothing_behind():
    timer = Timer()
    alarm = timer.alarm(lambda: None)
    for k in range(10_000):
        alarm.set(2**62 - k)
    assert len(timer._due) < 200


def test_the_timer_keeps_nobody_alive_whose_alarm_has_rung():
    class Owner:
        def __init__(self, timer):
            self.rung = threading.Event()
            self.alarm = timer.alarm(self.ring)

        def ring(self):
            self.rung.set()

    timer = Timer()
    owner = Owner(timer)
    left, rung = weakref.ref(owner), owner.rung
    owner.alarm.set(after(1))
    assert rung.wait(30)
    del owner
    eventually(lambda: (gc.collect(), left() is None)[1])
