import os
import signal

import pytest

from scripts.stopping import stop_on_signals

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_asks_to_stop_and_a_second_one_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert signal.getsignal(number) == stop.on_signal  # else the next line ends the tests
        os.kill(os.getpid(), number)
        assert stop()
        with pytest.raises(KeyboardInterrupt, match=f"second {number.name}"):
            os.kill(os.getpid(), number)

    assert signal.getsignal(number) == before


def test_what_must_not_be_left_half_done_is_not_interrupted() -> None:
    with stop_on_signals() as stop:
        with stop.uninterrupted():
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
