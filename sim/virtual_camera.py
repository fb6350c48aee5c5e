"""A camera of the virtual twin: photographed when due, developed when somebody looks.

What is kept at a frame's time is the state of the world (a few hundred bytes); the picture is
rendered from it only when it is taken. A policy that looks three times a second costs three
renderings, and a calibration none.
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from robot.frames import Frame
from robot.joints import FloatVector
from robot.rig import CameraProfile

QUEUE_FRAMES = 64  # as `robot.camera`: older pictures are lost, and the sequence numbers say so


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the follower's world at one moment."""

    time_s: float
    index: int  # of the camera's frame, from 0
    qpos: FloatVector


class JpegRenderer(Protocol):
    """Makes a picture of a state of the world."""

    def render_jpeg(self, qpos: FloatVector, camera_name: str) -> bytes:
        """Return the JPEG that the camera sees."""
        ...


class VirtualCamera:
    """A `CameraReader` in virtual time; used from the one thread that advances the twin."""

    def __init__(self, name: str, profile: CameraProfile, renderer: JpegRenderer) -> None:
        self.name = name
        self._profile = profile
        self._renderer = renderer
        self._pending: deque[Snapshot] = deque(maxlen=QUEUE_FRAMES)
        self._newest: Snapshot | None = None
        self._developed: Frame | None = None  # the newest picture that was made
        self._is_open = True

    def expose(self, snapshot: Snapshot) -> None:
        """Keep a state for a picture; called by the twin at each frame's time."""
        if self._is_open:
            self._pending.append(snapshot)
            self._newest = snapshot

    def take(self) -> list[Frame]:
        """Render and return what was exposed since the last call, oldest first."""
        frames = [self._develop(snapshot) for snapshot in self._pending]
        self._pending.clear()
        return frames

    def latest(self) -> Frame | None:
        """Return the newest picture, None before the first."""
        return None if self._newest is None else self._develop(self._newest)

    def close(self) -> None:
        """Forget everything; may be called twice."""
        self._is_open = False
        self._pending.clear()
        self._newest = None

    def _develop(self, snapshot: Snapshot) -> Frame:
        """Render a snapshot, or return the picture when it is the one made last."""
        made = self._developed
        if made is not None and made.sequence == snapshot.index:
            return made
        frame = Frame(
            camera=self.name,
            sequence=snapshot.index,
            capture_s=snapshot.time_s,
            jpeg=self._renderer.render_jpeg(snapshot.qpos, self.name),
            width=self._profile.width,
            height=self._profile.height,
        )
        if made is None or frame.sequence > made.sequence:
            self._developed = frame
        return frame
