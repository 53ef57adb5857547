"""How often one caller may ask, and that a table of callers stays small."""

from chordial_operator.enrollment.limits import CallerLimits, Rate, TokenBucket
from tests.operator.enrollment.requests_made import Time


def test_a_burst_passes_and_then_a_steady_rate() -> None:
    bucket = TokenBucket(Rate(burst=2, per_second=0.5), 0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]
    assert not bucket.take(1.9)
    assert bucket.take(2.0)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(Rate(burst=1, per_second=1), 100.0)
    assert bucket.take(100.0)
    assert not bucket.take(50.0)
    assert bucket.take(51.0)


def test_each_caller_has_its_own_share_and_the_quietest_is_forgotten() -> None:
    limits = CallerLimits(Rate(burst=1, per_second=0.001), Time(), most=2)
    assert limits.take("a")
    assert limits.take("b")
    assert not limits.take("a")
    assert limits.take("c")  # b was quiet longest
    assert not limits.take("a")
    assert limits.take("b")
