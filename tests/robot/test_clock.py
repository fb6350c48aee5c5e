from robot.clock import MonotonicClock, Pacer


class HandClock:
    """A clock that jumps where it is told and sleeps exactly."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, deadline_s: float) -> None:
        self.time_s = max(self.time_s, deadline_s)


def test_keeps_to_the_grid_when_work_fits_the_slot() -> None:
    clock = HandClock()
    pacer = Pacer(100.0, clock)
    for _ in range(50):
        clock.time_s += 0.004
        pacer.wait()

    assert abs(clock.time_s - 100.5) < 1e-9
    assert pacer.missed == 0


def test_an_overrun_loses_its_slots_and_the_grid_stays() -> None:
    clock = HandClock()
    pacer = Pacer(100.0, clock)
    clock.time_s += 0.025

    pacer.wait()

    assert pacer.missed == 2
    assert abs(clock.time_s - 100.03) < 1e-9


def test_the_machines_clock_never_wakes_early() -> None:
    clock = MonotonicClock()
    deadline_s = clock.now_s() + 0.005

    clock.sleep_until(deadline_s)

    assert clock.now_s() >= deadline_s
