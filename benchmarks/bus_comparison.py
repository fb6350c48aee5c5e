"""Four ways to read six servos, in turn on the same emulated bus.

Each way is a process of its own, started once, that opens the exclusive port for one block of
calls, closes it and sleeps while the others have their turn. The order is drawn anew each round,
so that whatever else the machine does meets all alike, and no way is slowed by another's
interpreter.
"""

import importlib.util
import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec

from benchmarks.arms_messages import ArmsLog, ArmsReady, Begin, Begun, Report
from benchmarks.bench_rig import FOLLOWER_ID
from benchmarks.bus_block import Block, BlockTimes
from benchmarks.child import Child
from benchmarks.quantiles import Quantiles, quantiles
from robot.errors import ConfigError
from robot.joints import SERVO_IDS
from robot.registers import PRESENT_POSITION, STATE_BLOCK
from sim.servo import BITS_A_BYTE, TURNAROUND_S

What = Literal["position", "block"]
START_DEADLINE_S = 120.0  # importing lerobot on a busy machine
BENCH_EXTRA = (
    "uv pip install --python .venv/bin/python --constraint constraints.txt rustypot "
    "(where uv is not found: .venv/bin/uv)"
)
# A SYNC_READ is FF FF FE len 82 address size ids... checksum, a reply FF FF id len error data...
# checksum.
_REQUEST_BYTES, _REPLY_BYTES = 8, 6
ORDER = ("ours", "rustypot", "sdk", "lerobot")  # of the rows
_REGISTERS = {"position": PRESENT_POSITION, "block": STATE_BLOCK}


class BusRow(msgspec.Struct, frozen=True):
    """One way to read, over all its blocks."""

    method: str
    what: What
    floor_us: float  # bytes and turnarounds at 1 Mbps: nothing can be faster
    wall: Quantiles | None
    cpu_us: float  # a call
    errors: int
    floor_ratio: float  # median to floor
    sdk_cpu_ratio: float | None  # processor time to the SDK's in the same run


class BusResult(msgspec.Struct, frozen=True):
    """The comparison, and how well the emulator kept its own time meanwhile."""

    rows: list[BusRow]
    pacing: Quantiles | None  # of replies after their due time
    emulator_cpu_share: float  # of one core


def wire_floor_s(what: What) -> float:
    """Return how long request, turnarounds and replies take at 1 Mbps."""
    servos = len(SERVO_IDS)
    request_bytes = _REQUEST_BYTES + servos
    reply_bytes = servos * (_REPLY_BYTES + _REGISTERS[what].size)
    return (request_bytes + reply_bytes) * BITS_A_BYTE / 1_000_000 + servos * TURNAROUND_S


def check_rustypot() -> None:
    """Refuse before anything is measured; raises ConfigError with the command that mends it."""
    if importlib.util.find_spec("rustypot") is None:
        raise ConfigError(f"rustypot, which is compared with, is not installed: {BENCH_EXTRA}")


def compare_buses(
    folder: Path, rounds: int, calls: int, on_progress: Callable[[str], None]
) -> BusResult:
    """Run `rounds` rounds of one block of `calls` calls each.

    Args:
        folder: holds the calibration files.
        rounds: how many.
        calls: in a block.
        on_progress: told what is running.

    Raises:
        ConfigError: rustypot is not installed.
        NotConnected: a child ended.
    """
    check_rustypot()
    with ExitStack() as stack:
        arms = stack.enter_context(Child("benchmarks.arms_process"))
        device = arms.hear(ArmsReady).follower
        contestants: dict[tuple[str, What], Child] = {}
        for what in ("position", "block"):
            for method in ("ours", "sdk", "rustypot"):
                contestants[method, what] = stack.enter_context(
                    Child("benchmarks.bus_methods", method, what, device)
                )
        calibration = str(folder / f"{FOLLOWER_ID}.json")
        contestants["lerobot", "position"] = stack.enter_context(
            Child("benchmarks.lerobot_side", "bus", device, calibration)
        )
        for child in contestants.values():
            child.hear(bool, START_DEADLINE_S)
        return _take_turns(arms, contestants, rounds, calls, on_progress)


def _take_turns(
    arms: Child,
    contestants: dict[tuple[str, What], Child],
    rounds: int,
    calls: int,
    on_progress: Callable[[str], None],
) -> BusResult:
    order = random.Random(0)
    times: dict[tuple[str, What], list[BlockTimes]] = {key: [] for key in contestants}
    pacing_s: list[float] = []
    emulator_s = elapsed_s = 0.0
    for number in range(rounds):
        on_progress(f"bus: round {number + 1} of {rounds}")
        for key in order.sample(sorted(contestants), len(contestants)):
            arms.ask(Begin(), Begun)
            times[key].append(contestants[key].ask(Block(calls), BlockTimes))
            log = arms.ask(Report(), ArmsLog)
            pacing_s += log.pacing_s
            emulator_s += log.cpu_s
            elapsed_s += log.ended_s - log.began_s
    return BusResult(bus_rows(times), quantiles(pacing_s), emulator_s / elapsed_s)


def bus_rows(times: dict[tuple[str, What], list[BlockTimes]]) -> list[BusRow]:
    """Join the blocks of each way to read."""
    cpu_us = {
        key: 1e6 * sum(block.cpu_s for block in blocks)
        / max(1, sum(len(block.wall_s) + block.errors for block in blocks))
        for key, blocks in times.items()
    }  # fmt: skip
    rows: list[BusRow] = []
    for key, blocks in sorted(times.items(), key=lambda item: ORDER.index(item[0][0])):
        method, what = key
        wall = quantiles([value for block in blocks for value in block.wall_s])
        floor_us = 1e6 * wire_floor_s(what)
        sdk_us = cpu_us.get(("sdk", what))
        rows.append(
            BusRow(
                method=method,
                what=what,
                floor_us=floor_us,
                wall=wall,
                cpu_us=cpu_us[key],
                errors=sum(block.errors for block in blocks),
                floor_ratio=wall.p50_ms * 1000 / floor_us if wall else float("nan"),
                sdk_cpu_ratio=cpu_us[key] / sdk_us if sdk_us else None,
            )
        )
    return sorted(rows, key=lambda row: row.what != "position")
