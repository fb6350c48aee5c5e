"""Open a rig for one command: arms, cameras, limits and clock, in real time or in the twin's virtual time.

Real time: addresses go through `Devices`; where they name a twin and none runs, one is started for the length of the command and
said so. Virtual time: the same arms and loop on the in-memory twin, as fast as the processor allows.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from robot.arm import Follower, Leader
from robot.bus import ServoBus
from robot.calibration_store import calibration_path, load_calibration
from robot.camera import open_camera
from robot.clock import Clock, MonotonicClock
from robot.devices import open_devices
from robot.errors import ConfigError
from robot.frames import CameraReader
from robot.limits import GoalLimiter
from robot.port import ServoPort
from robot.rig import RigProfile, load_rig
from sim.twin import open_virtual
from sim.twin_control import TwinControl, connect_control
from sim.twin_server import running_twin, start_twin

DEFAULT_RIG = Path("configs/twin.toml")


@dataclass
class Rig:
    """Buses and cameras of a rig, before any calibration is asked for."""

    profile: RigProfile
    clock: Clock
    leader_bus: ServoBus
    follower_bus: ServoBus
    cameras: dict[str, CameraReader]
    control: TwinControl | None  # None on a real rig

    def open_leader(self) -> Leader:
        """Open the leader with its stored calibration."""
        return Leader.open(self.leader_bus, load_calibration(calibration_path(self.profile.leader, "leader")))

    def open_follower(self) -> Follower:
        """Open the follower with its stored calibration; torque stays off."""
        calibration = load_calibration(calibration_path(self.profile.follower, "follower"))
        return Follower.open(self.follower_bus, calibration, self.clock)

    def new_limiter(self, follower: Follower) -> GoalLimiter:
        """Return a limiter that ramps from where the follower stands."""
        return GoalLimiter(
            follower.calibration,
            rate_hz=self.profile.control_rate_hz,
            max_speed_deg_s=self.profile.max_speed_deg_s,
        )

    def close(self) -> None:
        """Close cameras and buses; torque must have been dealt with before."""
        for camera in self.cameras.values():
            camera.close()
        self.leader_bus.close()
        self.follower_bus.close()


@contextmanager
def open_rig(path: Path, *, virtual: bool = False, with_cameras: bool = True) -> Iterator[Rig]:
    """Open the rig of a profile; closes everything, and a twin that it started, on every way out.

    Raises:
        ConfigError, NotConnected, PortBusy, NoPermission, CameraLost: with what to do next.
    """
    profile = load_rig(path)
    if virtual:
        if profile.twin is None:
            raise ConfigError(f"{path} describes real arms, which cannot run in virtual time: leave --virtual out")
        with _open_virtual_rig(profile, with_cameras=with_cameras) as rig:
            yield rig
        return
    with _open_real_rig(path, profile, with_cameras=with_cameras) as rig:
        yield rig
