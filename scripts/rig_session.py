"""Open a rig for one command: arms, cameras, limits and clock, in real or virtual time.

Real time: addresses go through `Devices`; where they name a twin and none runs, one is started for
the length of the command and said so; arms are driven by a control process. Virtual time: the same
arms and loop on the in-memory twin, as fast as the processor allows.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from robot.arm import Follower, Leader
from robot.bus import ServoBus
from robot.calibration_store import stored_calibration
from robot.camera import open_camera
from robot.clock import Clock, MonotonicClock
from robot.control_client import start_control
from robot.devices import open_devices, uses_twin
from robot.errors import ConfigError
from robot.frames import CameraReader
from robot.joints import Calibration
from robot.limits import GoalLimiter
from robot.messages import SourceName
from robot.port import ServoPort
from robot.rig import ArmProfile, RigProfile, load_rig
from robot.run_folder import open_run_folder
from scripts.driving import ArmControl
from scripts.twin_child import ensure_twin
from scripts.virtual_control import VirtualControl
from sim.twin import open_virtual
from sim.twin_control import TwinControl, connect_control

DEFAULT_RIG = Path("configs/twin.toml")


@dataclass
class Rig:
    """A rig, before any calibration is asked for; a bus is opened when it is first wanted.

    So a policy or the keys drive a follower on a table without a leader.
    """

    path: Path
    profile: RigProfile
    clock: Clock
    open_bus: Callable[[ArmProfile], ServoBus]
    cameras: dict[str, CameraReader]
    control: TwinControl | None  # None on a real rig
    open_control_process: Callable[[SourceName], AbstractContextManager[ArmControl]] | None = None

    @cached_property
    def leader_bus(self) -> ServoBus:
        """The leader's bus; raises NotConnected, NoPermission or PortBusy at first use."""
        return self.open_bus(self.profile.leader)

    @cached_property
    def follower_bus(self) -> ServoBus:
        """The follower's bus; raises NotConnected, NoPermission or PortBusy at first use."""
        return self.open_bus(self.profile.follower)

    def calibration(self, role: str) -> Calibration:
        """Load the stored calibration of "leader" or "follower"; raises `stored_calibration`'s."""
        return stored_calibration(self.profile, role)

    def open_leader(self) -> Leader:
        """Open the leader with its stored calibration."""
        return Leader.open(self.leader_bus, self.calibration("leader"))

    def open_follower(self) -> Follower:
        """Open the follower with its stored calibration; torque stays off."""
        return Follower.open(self.follower_bus, self.calibration("follower"), self.clock)

    @contextmanager
    def open_control(self, source: SourceName) -> Generator[ArmControl]:
        """Give who has the arms: a control process of their own; in virtual time the loop here.

        Torque is off when it is given, and after it is gone. With source "session" no leader is
        opened.

        Raises:
            So101Error: what the arms raise when they are opened, checked and configured.
        """
        if self.open_control_process is not None:
            with self.open_control_process(source) as control:
                yield control
            return
        leader = self.open_leader() if source == "leader" else None
        with self.open_follower() as follower:
            limiter = self.new_limiter(follower)
            yield VirtualControl(follower, leader, limiter, self.profile.control_rate_hz)

    def new_limiter(self, follower: Follower) -> GoalLimiter:
        """Return a limiter that ramps from where the follower stands."""
        return GoalLimiter(
            follower.calibration,
            rate_hz=self.profile.control_rate_hz,
            max_speed_deg_s=self.profile.max_speed_deg_s,
            table_height_m=self.profile.table_height_m,
        )

    def require_control(self, flag: str) -> TwinControl:
        """Return the twin's control.

        Raises:
            ConfigError: the rig is real; names the flag that only a twin understands.
        """
        if self.control is None:
            raise ConfigError(
                f"{flag} needs the digital twin, and {self.path} describes real arms: leave it out"
            )
        return self.control


@contextmanager
def open_rig(path: Path, *, virtual: bool = False, with_cameras: bool = True) -> Generator[Rig]:
    """Open the rig of a profile; closes everything, and a twin that it started, on every way out.

    Raises:
        ConfigError, NotConnected, PortBusy, NoPermission, CameraMissing: with what to do next.
    """
    profile = load_rig(path)
    if not with_cameras:
        profile = msgspec.structs.replace(profile, cameras={})
    with ExitStack() as stack:
        if virtual:
            yield _open_virtual_rig(path, profile, stack)
        else:
            yield _open_real_rig(path, profile, stack)


def _open_virtual_rig(path: Path, profile: RigProfile, stack: ExitStack) -> Rig:
    if profile.twin is None:
        raise ConfigError(
            f"{path} describes real arms, which cannot run in virtual time: leave --virtual out"
        )
    twin = stack.enter_context(open_virtual(profile))

    def open_bus(arm: ArmProfile) -> ServoBus:
        line = twin.leader_serial if arm is profile.leader else twin.follower_serial
        return stack.enter_context(ServoBus(ServoPort(line, arm.port, twin.clock), twin.clock))

    return Rig(
        path=path,
        profile=profile,
        clock=twin.clock,
        open_bus=open_bus,
        cameras=twin.cameras,
        control=twin.control,
    )


def _open_real_rig(path: Path, profile: RigProfile, stack: ExitStack) -> Rig:
    clock = MonotonicClock()
    control: TwinControl | None = None
    twin_pid: int | None = None
    lifelines: tuple[int, ...] = ()
    if uses_twin(profile):
        twin, lifelines = stack.enter_context(ensure_twin(path, profile))
        twin_pid = twin.pid
        remote = connect_control(twin.control)
        stack.callback(remote.close)
        control = remote
    devices = open_devices(profile, twin_pid)

    def open_bus(arm: ArmProfile) -> ServoBus:
        port = ServoPort.open(devices.port_path(arm.port), clock)
        return stack.enter_context(ServoBus(port, clock))

    @contextmanager
    def open_control_process(source: SourceName) -> Generator[ArmControl]:
        with (
            open_run_folder(profile.name) as folder,
            start_control(
                path,
                source=source,
                run_folder=folder.path,
                twin_pid=twin_pid,
                kept_open=lifelines,
            ) as client,
        ):
            yield client

    cameras: dict[str, CameraReader] = {}
    for name, camera in profile.cameras.items():
        cameras[name] = open_camera(name, camera, devices.camera_address(camera.address), clock)
        stack.callback(cameras[name].close)
    return Rig(path, profile, clock, open_bus, cameras, control, open_control_process)
