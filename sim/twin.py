"""The twin in virtual time: both buses and all cameras in this process, as fast as it goes.

The bytes, the servos, the world and the hands are those of the real-time twin; only the transport
and the clock differ. Two rigs from one profile give the same bytes and the same pictures.
"""

from dataclasses import dataclass
from typing import Self

import mujoco

from robot.errors import NotConnected
from robot.frames import CameraReader
from robot.joints import FloatVector
from robot.rig import RigProfile
from sim.memory_serial import MemorySerial
from sim.rendering import Renderer
from sim.twin_clock import TwinClock
from sim.twin_control import DirectControl
from sim.twin_core import ArmName, Twin
from sim.virtual_camera import VirtualCamera


@dataclass
class VirtualRig:
    """Everything a program sees of a rig, on the twin's clock; used from one thread."""

    twin: Twin
    clock: TwinClock
    leader_serial: MemorySerial
    follower_serial: MemorySerial
    cameras: dict[str, CameraReader]
    control: DirectControl
    _renderers: "_Renderers"

    def open_line(self, arm: ArmName) -> MemorySerial:
        """Return an arm's port anew, as after its adapter was pulled and plugged in again.

        Raises:
            NotConnected: the adapter is not plugged in.
        """
        bank = self.twin.leader_bank if arm == "leader" else self.twin.follower_bank
        try:
            return MemorySerial(bank, self.clock, faults=self.twin.faults[arm])
        except OSError as error:
            raise NotConnected(
                f"the {arm} of the twin is unplugged ({error.strerror}); plug it in again"
            ) from error

    def close(self) -> None:
        """Keep the servos' EEPROM and free the graphics; may be called twice."""
        for camera in self.cameras.values():
            camera.close()
        self._renderers.close()
        self.twin.save_eeproms()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_virtual(profile: RigProfile) -> VirtualRig:
    """Build the twin of a profile; raises ConfigError where it asks for what is not there."""
    twin = Twin(profile)
    clock = TwinClock(twin)
    renderers = _Renderers(twin.follower.model)
    cameras: dict[str, CameraReader] = {}
    for name, camera_profile in profile.cameras.items():
        camera = VirtualCamera(
            name, camera_profile, renderers.for_size(camera_profile.width, camera_profile.height)
        )
        twin.add_camera(camera_profile.fps, camera.expose)
        cameras[name] = camera
    return VirtualRig(
        twin=twin,
        clock=clock,
        leader_serial=MemorySerial(twin.leader_bank, clock, faults=twin.faults["leader"]),
        follower_serial=MemorySerial(twin.follower_bank, clock, faults=twin.faults["follower"]),
        cameras=cameras,
        control=DirectControl(twin),
        _renderers=renderers,
    )


class _Renderers:
    """One renderer a picture size, opened for the first picture: OpenGL takes a while to start."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._open: dict[tuple[int, int], Renderer] = {}

    def for_size(self, width: int, height: int) -> "_LazyRenderer":
        """Return a renderer of one size that opens itself at first use."""
        return _LazyRenderer(self, width, height)

    def get(self, width: int, height: int) -> Renderer:
        """Return the open renderer of a size."""
        if (width, height) not in self._open:
            self._open[width, height] = Renderer(self._model, width, height)
        return self._open[width, height]

    def close(self) -> None:
        """Free all contexts."""
        for renderer in self._open.values():
            renderer.close()
        self._open.clear()


@dataclass(frozen=True)
class _LazyRenderer:
    owner: _Renderers
    width: int
    height: int

    def render_jpeg(self, qpos: FloatVector, camera_name: str) -> bytes:
        """Render with the renderer of this size."""
        return self.owner.get(self.width, self.height).render_jpeg(qpos, camera_name)
