"""Cameras: one capture thread each, JPEG bytes passed on undecoded with their capture time.

What differs between a device and a stream is a `FrameSource`: it waits a short while for one
picture. The thread, the bounded queue, the deadlines and the errors are here, once.
"""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from robot.clock import Clock
from robot.errors import CameraLost, CameraMissing, So101Error
from robot.frames import CameraReader, Frame
from robot.rig import CameraProfile

# A camera that has said nothing for this long is lost. USB cameras take up to two seconds to
# deliver their first picture (exposure and format negotiation); later pictures come at least every
# 1/5 s even in the dark.
FIRST_FRAME_DEADLINE_S = 5.0
NEXT_FRAME_DEADLINE_S = 2.0
# Readers drain at control rate; two seconds at 30 fps covers a reader that was held up by a full
# disk's retry.
QUEUE_FRAMES = 64
JOIN_DEADLINE_S = 1.0


@dataclass(frozen=True, slots=True)
class Picture:
    """What a source delivers; `sequence` is the camera's own number where it has one, else -1."""

    capture_s: float
    jpeg: bytes
    sequence: int = -1


class FrameSource(Protocol):
    """A camera device or stream, owned by its capture thread after `open`."""

    width: int
    height: int

    def wait(self) -> Picture | None:
        """Wait half a second, at most a second, for the next picture; raises CameraLost."""
        ...

    def interrupt(self) -> None:
        """Make a running `wait` return soon; may be called from any thread."""
        ...

    def close(self) -> None:
        """Let the camera go; called by the thread that waits."""
        ...


class CaptureThread:
    """A `CameraReader` over a source: keeps the newest frames and the error that ended it."""

    def __init__(self, name: str, source: FrameSource, clock: Clock) -> None:
        self.name = name
        self._source = source
        self._clock = clock
        self._frames: deque[Frame] = deque(maxlen=QUEUE_FRAMES)
        self._latest: Frame | None = None
        self._error: So101Error | None = None
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)

    def start(self) -> None:
        """Start capturing; raises CameraLost when no first frame comes in time."""
        self._thread.start()
        with self._changed:
            self._changed.wait_for(
                lambda: self._latest is not None or self._error is not None,
                timeout=FIRST_FRAME_DEADLINE_S + 1.0,  # the thread itself gives up at the deadline
            )
            has_started, error = self._latest is not None, self._error
        if not has_started:
            self.close()
            raise error or _silent(self.name, FIRST_FRAME_DEADLINE_S)

    def take(self) -> list[Frame]:
        """Return what arrived since the last call; raises CameraLost when nothing more will."""
        with self._changed:
            if self._error is not None and not self._frames:
                raise self._error
            taken = list(self._frames)
            self._frames.clear()
        return taken

    def latest(self) -> Frame | None:
        """Return the newest frame; raises CameraLost when the camera died."""
        with self._changed:
            if self._error is not None:
                raise self._error
            return self._latest

    def close(self) -> None:
        """Stop and join within a second; may be called twice, from any thread but the camera's."""
        self._stopping.set()
        self._source.interrupt()
        if self._thread.is_alive():
            self._thread.join(JOIN_DEADLINE_S)

    def _run(self) -> None:
        try:
            self._capture()
        except So101Error as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - else the thread dies unheard, its last frame for ever
            self._fail(
                CameraLost(
                    f"camera '{self.name}' failed ({type(error).__name__}: {error}); "
                    "check its cable, then start again"
                )
            )
        finally:
            self._source.close()

    def _capture(self) -> None:
        deadline_s = self._clock.now_s() + FIRST_FRAME_DEADLINE_S
        allowed_s = FIRST_FRAME_DEADLINE_S
        count = 0
        while not self._stopping.is_set():
            picture = self._source.wait()
            if picture is not None:
                count += 1
                allowed_s = NEXT_FRAME_DEADLINE_S
                deadline_s = self._clock.now_s() + allowed_s
                self._deliver(picture, count)
            elif self._clock.now_s() > deadline_s:
                raise _silent(self.name, allowed_s)

    def _deliver(self, picture: Picture, count: int) -> None:
        frame = Frame(
            camera=self.name,
            sequence=picture.sequence if picture.sequence >= 0 else count,
            capture_s=picture.capture_s,
            jpeg=picture.jpeg,
            width=self._source.width,
            height=self._source.height,
        )
        with self._changed:
            self._frames.append(frame)
            self._latest = frame
            self._changed.notify_all()

    def _fail(self, error: So101Error) -> None:
        with self._changed:
            if not self._stopping.is_set():
                self._error = error
            self._changed.notify_all()


def open_camera(name: str, profile: CameraProfile, address: str, clock: Clock) -> CameraReader:
    """Open a camera and wait for its first frame.

    Args:
        name: the camera's name in the rig profile.
        profile: size and rate to ask for, and how it is mounted.
        address: what `Devices.camera_address` made of the profile's address: a device, or an
        `http://` stream.
        clock: of the rig; a stream's own capture times are on the same machine's monotonic clock.

    Raises:
        CameraMissing: it cannot be opened, or delivers nothing within five seconds.
        ConfigError: it does not deliver the size or the format asked for.
    """
    # Imported here: OpenCV takes a tenth of a second and memory that a rig of streams does not
    # need.
    source: FrameSource
    try:
        if address.startswith("http://"):
            from robot.stream_camera import StreamSource

            source = StreamSource(name, address, profile, clock)
        else:
            from robot.device_camera import DeviceSource

            source = DeviceSource(name, address, profile, clock)
        reader = CaptureThread(name, source, clock)
        reader.start()
    except CameraLost as error:
        raise CameraMissing(str(error)) from error
    return reader


def _silent(name: str, allowed_s: float) -> CameraLost:
    return CameraLost(
        f"camera '{name}' has delivered no picture for {allowed_s:g} s; "
        "check its cable, that no other program holds it, and for a twin that it still runs"
    )
