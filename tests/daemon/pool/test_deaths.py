"""When a replica is given up: three deaths in sixty seconds of service."""

from __future__ import annotations

from glmd.daemon.pool.deaths import Deaths


def test_the_third_death_in_a_minute_is_too_many() -> None:
    deaths = Deaths()
    verdicts = []
    for t in (0.0, 10.0, 20.0):
        deaths.ready(t)
        verdicts.append(deaths.died(t + 9.0))
    assert verdicts == [False, False, True]


def test_rare_deaths_are_forgotten() -> None:
    deaths = Deaths()
    for i in range(20):
        deaths.ready(100.0 * i)
        assert not deaths.died(100.0 * i + 31.0)


def test_slow_loads_do_not_hide_a_crash_loop() -> None:
    deaths = Deaths()
    verdicts = []
    for t in (0.0, 600.0, 1200.0):
        deaths.ready(t)
        verdicts.append(deaths.died(t + 1.0))
    assert verdicts == [False, False, True]


def test_dying_while_loading_counts() -> None:
    deaths = Deaths()
    assert [deaths.died(t) for t in (100.0, 300.0, 500.0)] == [False, False, True]
