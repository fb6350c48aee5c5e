"""What a terminal's keys send to a whole process group does not reach the workers."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from record import dataset
from robot.terminal_signals import TERMINAL_SIGNALS
from scripts import virtual_recording

INITIALIZERS: dict[str, Callable[[], None]] = {
    "export": dataset._begin_worker,
    "virtual recording": partial(virtual_recording._begin_worker, os.getpid()),
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_a_worker_leaves_the_terminal_to_its_parent(name: str) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=INITIALIZERS[name]) as pool:
        handlers = [pool.submit(signal.getsignal, number).result() for number in TERMINAL_SIGNALS]

    assert handlers == [signal.SIG_IGN] * 3
