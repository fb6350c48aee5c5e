"""One block of bus reads, timed where they are made: shared by all children of the bus comparison.

Wall time is taken around each call, processor time around the whole block (all threads of the
process), so that neither clock disturbs what it measures.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import msgspec

from benchmarks.child import say, serve_lines

WARM_UP_CALLS = 10
Reader = Callable[[], Sequence[float]]  # returns six values or raises


class Block(msgspec.Struct, frozen=True):
    """Open the bus, read so many times, close it."""

    calls: int


class BlockTimes(msgspec.Struct, frozen=True):
    """What came of it."""

    wall_s: list[float]  # of each call that succeeded
    cpu_s: float  # of all calls together
    errors: int
    example: list[float]  # what the last call read, to see that it read something


def serve_blocks(open_reader: Callable[[], AbstractContextManager[Reader]]) -> None:
    """Answer each Block on standard input with its BlockTimes until the input ends."""
    say(True)

    def answer(line: bytes) -> BlockTimes:
        block = msgspec.json.decode(line, type=Block)
        with open_reader() as read:
            return time_block(read, block.calls)

    serve_lines(answer)


def time_block(read: Reader, calls: int) -> BlockTimes:
    """Read `calls` times after a few that do not count."""
    for _ in range(WARM_UP_CALLS):
        read()
    wall_s: list[float] = []
    example: Sequence[float] = ()
    errors = 0
    cpu_s = time.process_time()
    for _ in range(calls):
        began_s = time.perf_counter()
        try:
            example = read()
        except (OSError, RuntimeError):  # what the four libraries raise for a lost reply
            errors += 1
            continue
        wall_s.append(time.perf_counter() - began_s)
    cpu_s = time.process_time() - cpu_s
    return BlockTimes(wall_s, cpu_s, errors, [float(value) for value in example])
