"""Signs of life through a pipe."""

import os
import time
from collections.abc import Iterator

import pytest

from robot.session_pulse import SessionPulse

INFINITE_S = float("inf")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    yield read_end, write_end
    for descriptor in (read_end, write_end):
        try:
            os.close(descriptor)
        except OSError:
            continue


def test_silence_grows_until_the_next_beat(pipe: tuple[int, int]) -> None:
    pulse = SessionPulse(pipe[0], os.getppid())
    began_s = time.monotonic()

    os.write(pipe[1], b"...")
    assert pulse.silence_s(began_s + 1.0) == 0.0
    assert pulse.silence_s(began_s + 3.5) == 2.5
    os.write(pipe[1], b".")
    assert pulse.silence_s(began_s + 4.0) == 0.0
    assert not pulse.is_gone


def test_a_session_that_ended_is_gone_for_good(pipe: tuple[int, int]) -> None:
    pulse = SessionPulse(pipe[0], os.getppid())
    os.write(pipe[1], b".")
    os.close(pipe[1])

    assert pulse.silence_s(time.monotonic()) == 0.0  # what it had said before
    assert pulse.silence_s(time.monotonic()) == INFINITE_S
    assert pulse.is_gone
    assert pulse.silence_s(time.monotonic()) == INFINITE_S


def test_an_heir_of_the_pipe_does_not_hide_that_the_parent_is_gone(pipe: tuple[int, int]) -> None:
    pulse = SessionPulse(pipe[0], parent_pid=os.getppid() + 1)
    os.write(pipe[1], b".")

    assert pulse.silence_s(time.monotonic()) == INFINITE_S
    assert pulse.is_gone
