"""The commands that are measured: this project's own and LeRobot's own, on the same emulated arms.

Each is started as a person starts it; nothing in it knows that it is measured.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.bench_rig import (
    FOLLOWER_ID,
    FPS,
    HEIGHT,
    LEADER_ID,
    WIDTH,
    write_calibrations,
    write_profile,
)
from benchmarks.camera_replay import ReplayReady

Side = Literal["ours", "lerobot"]
Activity = Literal["teleop", "recording", "recording, streaming encoder"]
OUR_HZ = 100.0


@dataclass(frozen=True)
class Contest:
    """One row of the loop table: who does what at which rate."""

    side: Side
    activity: Activity
    rate_hz: float
    is_fifo_refused: bool = False  # this project only: LeRobot never asks
    duration_s: float | None = None  # teleop ends by itself after so long; None: when told to

    @property
    def is_recording(self) -> bool:
        """Whether two cameras are recorded."""
        return self.activity != "teleop"


@dataclass(frozen=True)
class Place:
    """Where a run happens."""

    folder: Path  # of this run alone
    leader: str  # serial devices
    follower: str
    cameras: ReplayReady | None


QUICK = (
    Contest("ours", "recording", OUR_HZ),
    Contest("ours", "recording", OUR_HZ, is_fifo_refused=True),
    Contest("lerobot", "recording", 30.0),
)
FULL = (
    Contest("ours", "teleop", OUR_HZ),
    Contest("lerobot", "teleop", 30.0),
    Contest("ours", "teleop", OUR_HZ, is_fifo_refused=True),
    Contest("lerobot", "teleop", 60.0),
    Contest("ours", "recording", OUR_HZ),
    Contest("lerobot", "recording", 30.0),
    Contest("ours", "recording", OUR_HZ, is_fifo_refused=True),
    Contest("lerobot", "recording, streaming encoder", 30.0),
    Contest("lerobot", "recording", 60.0),
)


def command(contest: Contest, place: Place) -> list[str]:
    """Write what the command needs into the run's folder and return its words."""
    write_calibrations(place.folder)
    if contest.side == "lerobot":
        return lerobot_command(contest, place)
    return our_command(contest, place)


def our_command(contest: Contest, place: Place) -> list[str]:
    """Return `so101 teleop` or `so101 record` on a profile of the emulated arms."""
    rig = place.folder / "rig.toml"
    streams: Mapping[str, str] = place.cameras.http if place.cameras else {}
    write_profile(rig, place.leader, place.follower, streams, contest.rate_hz)
    words = [sys.executable, "-m", "scripts"]
    if contest.is_fifo_refused:
        words = [sys.executable, "-m", "benchmarks.without_realtime", *words]
    if not contest.is_recording:
        timed = [] if contest.duration_s is None else ["--duration-s", f"{contest.duration_s:g}"]
        return [*words, "teleop", "--rig", str(rig), *timed]
    output = str(place.folder / "session")
    unattended = ["--unattended", "--episodes", "1", "--episode-s", "3600", "--reset-s", "0"]
    return [*words, "record", "--rig", str(rig), "--output", output, "--no-export", *unattended]


def lerobot_command(contest: Contest, place: Place) -> list[str]:
    """Return `lerobot-teleoperate` or `lerobot-record` with the options of its documentation."""
    words = [sys.executable, "-m", "benchmarks.lerobot_side"]
    arms = lerobot_arms(place)
    rate = f"{contest.rate_hz:g}"
    if not contest.is_recording:
        timed = [] if contest.duration_s is None else [f"--teleop_time_s={contest.duration_s:g}"]
        return [*words, "teleop", *arms, f"--fps={rate}", *timed]
    return [
        *words,
        "record",
        *arms,
        "--dataset.repo_id=bench/run",
        f"--dataset.root={place.folder / 'dataset'}",
        "--dataset.single_task=bench",
        f"--dataset.fps={rate}",
        "--dataset.num_episodes=1",
        "--dataset.episode_time_s=3600",
        "--dataset.push_to_hub=false",
        "--dataset.no_stamp=true",
        "--play_sounds=false",
        *(
            ["--dataset.streaming_encoding=true", "--dataset.encoder_threads=2"]
            if contest.activity == "recording, streaming encoder"
            else []
        ),
    ]


def lerobot_arms(place: Place) -> Sequence[str]:
    """Return the options that name both arms and the cameras."""
    options = [
        "--robot.type=so101_follower",
        f"--robot.port={place.follower}",
        f"--robot.id={FOLLOWER_ID}",
        f"--robot.calibration_dir={place.folder}",
        "--teleop.type=so101_leader",
        f"--teleop.port={place.leader}",
        f"--teleop.id={LEADER_ID}",
        f"--teleop.calibration_dir={place.folder}",
    ]
    if place.cameras is not None:
        cameras = {
            name: {
                "type": "zmq",
                "server_address": entry.server_address,
                "port": entry.port,
                "camera_name": entry.camera_name,
                "width": WIDTH,
                "height": HEIGHT,
                "fps": FPS,
            }
            for name, entry in place.cameras.zmq.items()
        }
        options.append(f"--robot.cameras={json.dumps(cameras)}")
    return options
