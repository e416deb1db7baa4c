from services.inference.scheduling.inline import InlineAllowance
from services.inference.scheduling.plan import Plan, QueuePolicy, Resource

MS = 1_000_000


def allowance(**plan):
    defaults = {"inline_rows": 8, "inline_limit_us": 4_000}
    return InlineAllowance(Plan(inputs=("x",), **{**defaults, **plan}))


def runs_until_inline(inline, limit=10_000):
    for number in range(1, limit):
        inline.ran_apart(1, 1 * MS)
        if inline.rows:
            return number
    raise AssertionError("never")


def test_long_runs_now_and_then_are_forgiven():
    inline = allowance()
    for _ in range(100):
        for ns in (5 * MS, 1 * MS, 1 * MS):
            inline.ran_inline(ns)
    assert inline.rows == 8


def test_many_long_runs_are_not():
    inline = allowance()
    runs = 0
    while inline.rows:
        inline.ran_inline(5 * MS if runs % 2 else 1 * MS)
        runs += 1
    assert runs <= 16


def test_a_very_long_run_is_not_forgiven_at_all():
    inline = allowance()
    inline.ran_inline(65 * MS)
    assert inline.rows == 0


def test_short_runs_bring_it_back_and_only_they_do():
    inline = allowance()
    inline.ran_inline(65 * MS)
    for _ in range(200):
        inline.ran_apart(1, 1 * MS)
        inline.ran_apart(1, 5 * MS)
        inline.ran_apart(9, 1 * MS)  # more rows than it ran inline: no proof
    assert inline.rows == 0
    first = runs_until_inline(inline)
    assert inline.rows == 8
    inline.ran_inline(65 * MS)
    assert runs_until_inline(inline) == 2 * first, "the second time more must be proved"


def test_without_a_limit_it_stays():
    inline = allowance(inline_limit_us=0)
    inline.ran_inline(10**12)
    assert inline.rows == 8


def test_what_must_wait_does_not_run_inline():
    for plan in (
        {"inline_rows": 0},
        {"max_queue_delay_us": 100},
        {"priority_levels": 2},
        {"preserves_order": True},
        {"resources": (Resource("r", 1),)},
    ):
        assert allowance(**plan).rows == 0
    assert allowance(priority_levels=1, queue_policy=QueuePolicy(timeout_us=9)).rows == 8
