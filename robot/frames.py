"""A camera frame, undecoded: the JPEG bytes as the camera sent them, and their time of capture."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture."""

    camera: str
    sequence: int  # grows by one a delivered frame; a gap is a lost frame
    capture_s: float  # time of capture on the rig's clock
    jpeg: bytes
    width: int
    height: int


class CameraReader(Protocol):
    """One camera, as the recorder and the policy see it. Never blocks."""

    name: str

    def take(self) -> list[Frame]:
        """Return the frames that arrived since the last call, oldest first.

        Raises:
            CameraLost: the camera died.
        """
        ...

    def latest(self) -> Frame | None:
        """Return the newest frame, None before the first."""
        ...

    def close(self) -> None:
        """Stop capturing; may be called twice."""
        ...
