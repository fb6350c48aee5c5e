"""A V4L2 camera: OpenCV fetches its MJPEG pictures undecoded. The room's only importer of cv2.

Not yet tried on a real camera; written after OpenCV 4.x `modules/videoio/src/cap_v4l.cpp` (see
docs/provenance.md).
"""

import os

from robot.camera import Picture
from robot.clock import Clock
from robot.errors import CameraLost, ConfigError
from robot.rig import CameraProfile

# OpenCV waits ten seconds in one read when a camera stalls; read once, at the first capture of a
# process.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import cv2

_CAPTURE_STAMP_TRUST_S = 1.0


class DeviceSource:
    """One V4L2 capture device, by path or by-path link."""

    def __init__(self, name: str, address: str, profile: CameraProfile, clock: Clock) -> None:
        self.width = profile.width
        self.height = profile.height
        self._name = name
        self._clock = clock
        if profile.rotation_deg not in (0, 180):
            raise ConfigError(
                f"camera '{name}': rotation_deg is {profile.rotation_deg}; only 0 and 180 exist"
            )
        self._is_upside_down = profile.rotation_deg == 180
        self._capture = cv2.VideoCapture(address, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraLost(
                f"camera '{name}': {address} cannot be opened; "
                "check that it is a camera and that no other program "
                f"holds it (fuser {address} names it)"
            )
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, profile.width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, profile.height)
        self._capture.set(cv2.CAP_PROP_FPS, profile.fps)
        self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)  # hand the JPEG over as it came
        self._check(address, profile)

    def wait(self) -> Picture | None:
        """Return the next picture, None when OpenCV gave up waiting (one second)."""
        delivered, raw = self._capture.read()
        if not delivered:
            return None
        jpeg = raw.tobytes()
        if jpeg[:2] != b"\xff\xd8":
            return None  # a broken buffer now and then; silence has its own deadline
        if self._is_upside_down:
            jpeg = _turned(jpeg)
        return Picture(capture_s=self._capture_time_s(), jpeg=jpeg)

    def interrupt(self) -> None:
        """Do nothing: a running read ends by itself within a second."""

    def close(self) -> None:
        """Release the device."""
        self._capture.release()

    def _capture_time_s(self) -> float:
        """Return the driver's stamp of the buffer (CLOCK_MONOTONIC for USB) where plausible."""
        now_s = self._clock.now_s()
        stamp_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000.0
        return stamp_s if 0.0 <= now_s - stamp_s < _CAPTURE_STAMP_TRUST_S else now_s

    def _check(self, address: str, profile: CameraProfile) -> None:
        """Refuse a camera that does not deliver what the profile says."""
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        fourcc = code.to_bytes(4, "little", signed=False).decode("latin-1") if code > 0 else "?"
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        fps = round(self._capture.get(cv2.CAP_PROP_FPS))
        offered = (fourcc, width, height, fps)
        if offered != ("MJPG", profile.width, profile.height, profile.fps):
            self._capture.release()
            raise ConfigError(
                f"camera '{self._name}' at {address} offers {fourcc} {width}x{height} "
                f"at {fps} fps, but the profile asks for MJPG {profile.width}x{profile.height} "
                f"at {profile.fps} fps; put a size into the profile that this lists: "
                f"v4l2-ctl -d {address} --list-formats-ext"
            )


def _turned(jpeg: bytes) -> bytes:
    """Turn a picture by half a turn; the one case in which a picture is decoded here."""
    import numpy as np

    image = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise CameraLost(
            "a picture could not be decoded to turn it; set rotation_deg = 0 in the profile"
        )
    return cv2.imencode(".jpg", cv2.rotate(image, cv2.ROTATE_180), [cv2.IMWRITE_JPEG_QUALITY, 95])[
        1
    ].tobytes()
