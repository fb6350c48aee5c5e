"""Sweep the joints of an arm by hand to both of their ends, and store the calibration.

The spans are checked first; the calibration goes into the servos and onto the disk. On the twin the
emulated hand does the sweep. On a real arm: torque goes off, you move every joint to both of its
stops, and press Enter when every row is green.
"""

import select
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.live import Live
from rich.table import Table

from calibration.sweep import SweepReading, solve, store_in_servos, sweep
from robot.arm_setup import check_servos, configure
from robot.bus import ServoBus
from robot.calibration_store import (
    SIDECAR_SCHEMA,
    CalibrationSidecar,
    calibration_path,
    save_calibration,
)
from robot.errors import ConfigError, ServoTimeout
from robot.joints import JOINTS
from robot.torque import release_torque
from scripts.output_place import refuse_unwritable
from scripts.rig_session import DEFAULT_RIG, Rig, open_rig
from scripts.stopping import StopRequest, stop_on_signals

SWEEP_LIMIT_S = 300.0

ArmRole = Literal["leader", "follower"]


@dataclass(frozen=True)
class Args:
    """What to calibrate."""

    rig: Path = DEFAULT_RIG
    """Rig profile (TOML)."""
    arm: Literal["both", "leader", "follower"] = "both"
    """Which arm."""
    virtual: bool = False
    """Twin only: run in virtual time, as fast as the processor allows."""
    duration_s: float = 0.0
    """Stop each sweep after this many seconds instead of waiting for Enter (0: wait)."""


def main(args: Args) -> int:
    """Calibrate the arms asked for."""
    console = Console()
    roles: list[ArmRole] = ["leader", "follower"] if args.arm == "both" else [args.arm]
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        rig = stack.enter_context(open_rig(args.rig, virtual=args.virtual, with_cameras=False))
        for role in roles:  # all that can be refused, before the first sweep
            _refuse_unwritable_file(rig, role)
            _bus(rig, role)
        for role in roles:
            calibrate_arm(rig, role, console, args.duration_s, stop)
    return 0


def calibrate_arm(
    rig: Rig, role: ArmRole, console: Console, duration_s: float, stop: StopRequest
) -> None:
    """Sweep, check and store one arm.

    Raises:
        KeyboardInterrupt: asked to stop; nothing was stored.
    """
    bus = _bus(rig, role)
    # First, as in Follower.open: a killed program may have left it on.
    state = release_torque(bus)
    check_servos(bus, role)
    console.print(f"{role} on {bus.port.name}: torque {state}")
    if not state.is_off:
        raise ServoTimeout(f"the {role} did not let go (torque {state}): nothing was calibrated")
    reading = _watch_sweep(_readings(rig, role, bus, duration_s, stop), role, console)
    calibration = solve(reading, role)
    path = _path(rig, role)
    sidecar = CalibrationSidecar(
        schema=SIDECAR_SCHEMA,
        sha256=calibration.sha256,
        made_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        span_deg={name: round(float(reading.span_deg[i]), 2) for i, name in enumerate(JOINTS)},
        port=bus.port.name,
    )
    with stop.uninterrupted():  # a second or two
        store_in_servos(bus, calibration, lambda: save_calibration(path, calibration, sidecar))
        if role == "follower":
            configure(bus)  # now, so that no later program's first run differs from its second
    console.print(f"[green]✓[/] {role} calibrated: {path} (sha256 {calibration.sha256[:12]})")


def _bus(rig: Rig, role: ArmRole) -> ServoBus:
    return rig.leader_bus if role == "leader" else rig.follower_bus


def _path(rig: Rig, role: ArmRole) -> Path:
    profile = rig.profile.leader if role == "leader" else rig.profile.follower
    return calibration_path(profile, role)


def _refuse_unwritable_file(rig: Rig, role: ArmRole) -> None:
    """Refuse before the sweep what would fail after it; the file is renamed into its folder."""
    path = _path(rig, role)
    if path.is_dir():
        raise ConfigError(f"the calibration {path} is a folder; name another calibration_dir")
    refuse_unwritable(path.parent if path.exists() else path, "the calibration")


def _readings(
    rig: Rig, role: ArmRole, bus: ServoBus, duration_s: float, stop: StopRequest
) -> Iterator[SweepReading]:
    """Yield readings until the emulated hand, the clock or the person says that it is over."""
    end_s = rig.clock.now_s() + (duration_s or SWEEP_LIMIT_S)
    if rig.control is not None:
        rig.control.set_hand(role, "sweep", 0)
    for index, reading in enumerate(sweep(bus, rig.clock)):
        yield reading
        if stop():
            if rig.control is not None:
                rig.control.set_hand(role, "none", 0)
            raise KeyboardInterrupt("asked to stop during the sweep: nothing was stored")
        if rig.clock.now_s() >= end_s:
            return
        if rig.control is not None:
            # A status request costs more than a reading: ask five times a second.
            if index % 10 == 9 and rig.control.status().hand_done[role]:
                rig.control.set_hand(role, "none", 0)
                return
        elif not duration_s and select.select([sys.stdin], [], [], 0)[0]:
            sys.stdin.readline()
            return


def _watch_sweep(readings: Iterator[SweepReading], role: str, console: Console) -> SweepReading:
    """Show the sweep live and return its last reading."""
    last: SweepReading | None = None
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        for last in readings:
            live.update(_table(last, role), refresh=False)
    if last is None:
        raise ServoTimeout(f"the sweep of the {role} gave no reading: calibrate again")
    console.print(_table(last, role))
    return last


def _table(reading: SweepReading, role: str) -> Table:
    table = Table(title=f"{role}: move every joint to both of its stops, then press Enter")
    for heading in ("joint", "lowest", "highest", "span", "expected", ""):
        table.add_column(heading, justify="right")
    for index, name in enumerate(JOINTS):
        done = bool(reading.is_complete[index])
        table.add_row(
            name,
            str(reading.low_ticks[index]),
            str(reading.high_ticks[index]),
            f"{reading.span_deg[index]:.0f}°",
            f"{reading.expected_deg[index]:.0f}°",
            "[green]ok[/]" if done else "[dark_orange]move this one[/]",
        )
    return table
