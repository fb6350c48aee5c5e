"""Run the digital twin: two emulated SO-101 arms on serial device names, and two cameras.

Every program that talks to real arms talks to these: this project's commands (addresses
`twin:...`), LeRobot's, or a serial terminal. Runs until Ctrl-C or another signal that ends a
program. The control of the scene and the log are in the run folder that it prints.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from rich.console import Console
from rich.table import Table
from tyro.conf import UseAppendAction

from robot.rig import load_rig
from robot.run_folder import CameraEntry, PortEntry, TwinManifest
from sim.faults import fault_help, parse_fault
from sim.recorded_motion import load_hand
from sim.twin_core import HandName
from sim.twin_server import TwinOptions, run_twin

__doc__ = f"{__doc__}\n{fault_help()}"  # what `so101 twin --help` shows

DEFAULT_RIG = Path("configs/twin.toml")
HANDS: dict[str, HandName] = {"none": "none", "sweep": "sweep", "demonstrator": "demonstrator"}


@dataclass
class Args:
    """What to run."""

    rig: Path = DEFAULT_RIG
    """Rig profile with a [twin] table (TOML). Twins of different names run side by side."""
    hand: str = "none"
    """Who moves the leader: none, sweep (each joint to both ends), demonstrator (picks the red
    block), or a recorded motion: a CSV file (timestamp_s and action.JOINT in LeRobot's normalised
    units, or JOINT_deg) or the folder of a LeRobot dataset (FOLDER#3 for its fourth episode)."""
    json: bool = False
    """Print one line of JSON with all addresses and nothing else."""
    duration_s: float | None = None
    """Stop by itself after this many seconds."""
    pace_1mbps: bool = False
    """Hold the servos' replies back for the time they take on a 1 Mbps wire."""
    fault: Annotated[tuple[str, ...], UseAppendAction] = ()
    """Let something go wrong, for example "overload servo=6 after=3"; may be given again. The kinds
    are listed above."""
    until_stdin_closes: bool = False
    """Stop when standard input ends: for programs that start a twin and leave none behind."""


class Addresses(msgspec.Struct, frozen=True):
    """The line of `--json`."""

    leader: PortEntry
    follower: PortEntry
    cameras: dict[str, CameraEntry]


def main(args: Args) -> int:
    """Run a twin until it is told to stop."""
    profile = load_rig(args.rig)
    options = TwinOptions(
        leader_hand=HANDS.get(args.hand, "none"),
        recorded_hand=None if args.hand in HANDS else load_hand(args.hand),
        is_paced=args.pace_1mbps,
        duration_s=args.duration_s,
        until_stdin_closes=args.until_stdin_closes,
        faults=tuple(parse_fault(text) for text in args.fault),
    )
    reason = run_twin(profile, options, _print_json if args.json else _print_table)
    if not args.json:
        print(f"twin stopped ({reason})")
    return 0


def _print_json(manifest: TwinManifest) -> None:
    addresses = Addresses(manifest.leader, manifest.follower, manifest.cameras)
    sys.stdout.write(msgspec.json.encode(addresses).decode() + "\n")
    sys.stdout.flush()


def _print_table(manifest: TwinManifest) -> None:
    table = Table(
        title=f"digital twin '{manifest.rig}', process {manifest.pid}", title_justify="left"
    )
    table.add_column("device")
    table.add_column("address", no_wrap=True)
    table.add_row("leader", manifest.leader.port)
    table.add_row("follower", manifest.follower.port)
    for name, camera in manifest.cameras.items():
        size = f"{camera.width}x{camera.height}, {camera.fps} fps"
        table.add_row(f"{name} camera", f"{camera.http}  ({size})")
        table.add_row(
            "  for LeRobot",
            f"zmq: server_address {camera.zmq.server_address}, port {camera.zmq.port}",
        )
    table.add_row("control", manifest.control)
    console = Console()
    console.print(table)
    console.print("Ctrl-C stops it.", highlight=False)
