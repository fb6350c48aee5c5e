"""JPEG in and out, and drawing: the only importer of OpenCV in this room.

Images are uint8 RGB, shape (height, width, 3).
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robot.errors import ConfigError

Image = NDArray[np.uint8]


def decode_jpeg(jpeg: bytes, source: Path) -> Image:
    """Decode a picture; `source` is named when it is damaged."""
    decoded = (
        cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), cv2.IMREAD_COLOR_RGB) if jpeg else None
    )
    if decoded is None:
        raise ConfigError(
            f"{source}: a frame is not a readable JPEG; "
            "the camera sent garbage or the file is damaged"
        )
    return np.asarray(decoded, dtype=np.uint8)


def encode_jpeg(image: Image, quality: int = 90) -> bytes:
    """Encode as JPEG."""
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return data.tobytes()


def encode_png(image: Image) -> bytes:
    """Encode as PNG."""
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return data.tobytes()


def resize(image: Image, width: int, height: int) -> Image:
    """Scale to exactly this size."""
    return np.asarray(
        cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8
    )


def draw_text(image: Image, text: str, x: int, y: int, *, scale: float = 0.4) -> None:
    """Write one line with its base line at (x, y) pixels, white with a dark rim, into the image."""
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(
            image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA
        )
