from medrobust.study.rate_limit import RateLimit


def test_an_address_waits_after_its_failures() -> None:
    limit = RateLimit(limit=3, window=60)
    for now in (0.0, 10.0, 20.0):
        assert limit.wait("a", now) == 0
        limit.failed("a", now)
    assert limit.wait("a", 20) == 40
    assert limit.wait("a", 59.5) == 0.5
    assert limit.wait("b", 20) == 0


def test_each_failure_counts_for_the_window() -> None:
    limit = RateLimit(limit=2, window=60)
    limit.failed("a", 0)
    limit.failed("a", 30)
    assert limit.wait("a", 60) == 0
    limit.failed("a", 60)
    assert limit.wait("a", 60) == 30
    assert limit.wait("a", 90) == 0


def test_what_is_remembered_is_bounded() -> None:
    limit = RateLimit(limit=1, window=60, most_addresses=100)
    for number in range(1000):
        limit.failed(f"address {number}", 0)
    waiting = [number for number in range(1000) if limit.wait(f"address {number}", 1)]
    assert waiting == list(range(900, 1000))


def test_failures_beyond_the_limit_are_not_piled_up() -> None:
    limit = RateLimit(limit=2, window=60)
    for _ in range(1000):
        limit.failed("a", 0)
    assert limit.wait("a", 1) == 59
    assert limit.wait("a", 60) == 0
