"""One MP4 an episode and camera: the only importer of PyAV in this room.

Frame k has the time stamp k/fps exactly: LeRobot looks frames up by time with a tolerance of 0.1
ms. A key frame every second picture, as LeRobot writes, makes random access cheap. No B-frames:
they would shift the first time stamp.
"""

import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from record.images import Image
from robot.errors import ConfigError

GROUP_SIZE = 2
PIXEL_FORMAT = "yuv420p"


@dataclass(frozen=True, slots=True)
class Encoder:
    """How pictures become video."""

    encoder: str  # FFmpeg's name of the encoder
    codec: str  # FFmpeg's name of the format, as info.json has it
    preset: str
    crf: int


# h264: fast, so that exporting keeps up with recording; av1: LeRobot's default, smaller, slower.
ENCODERS = {
    "h264": Encoder(encoder="libx264", codec="h264", preset="ultrafast", crf=20),
    "libsvtav1": Encoder(encoder="libsvtav1", codec="av1", preset="12", crf=30),
}


def encoder_named(name: str) -> Encoder:
    """Return an encoder by LeRobot's name; raises ConfigError for another name."""
    if name not in ENCODERS:
        raise ConfigError(f"unknown video codec {name!r}; choose one of {', '.join(ENCODERS)}")
    return ENCODERS[name]


def encode_video(images: Iterable[Image], fps: int, encoder: Encoder) -> bytes:
    """Encode pictures of one size as an MP4 in memory; both sides must be even."""
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="mp4") as container:
        stream: VideoStream | None = None
        for index, image in enumerate(images):
            if stream is None:
                stream = _add_stream(container, image, fps, encoder)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=PIXEL_FORMAT)
            frame.pts = index
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))
    return buffer.getvalue()


def _add_stream(
    container: OutputContainer, image: Image, fps: int, encoder: Encoder
) -> VideoStream:
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        raise ConfigError(
            f"the camera's size {width} x {height} is odd; {PIXEL_FORMAT} video needs even sides"
        )
    options = {"g": str(GROUP_SIZE), "crf": str(encoder.crf), "preset": encoder.preset}
    if encoder.encoder == "libx264":
        options["bf"] = "0"
    else:
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1: errors only, not a banner an episode
    # PyAV annotates all but the keyword arguments.
    stream = container.add_stream(  # pyright: ignore[reportUnknownMemberType]
        encoder.encoder, rate=fps, options=options
    )
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = width, height, PIXEL_FORMAT
    stream.time_base = Fraction(1, fps)
    stream.codec_context.time_base = Fraction(1, fps)
    stream.thread_count = 1  # one worker process a core; threads would only fight
    return stream


def check_video(data: bytes, *, frames: int, fps: int, source: Path) -> None:
    """Count the frames, check every time stamp, decode the last one.

    Raises:
        ConfigError: the video does not hold exactly `frames` pictures at k/fps.
    """
    with av.open(io.BytesIO(data), mode="r") as container:
        stream = container.streams.video[0]
        stamps = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        base = stream.time_base
        expected = [Fraction(index, fps) for index in range(frames)]
        if base is None or [stamp * base for stamp in stamps] != expected:
            raise ConfigError(
                f"{source}: the video has {len(stamps)} frames for {frames} rows, or their times "
                "are off; the episode was not added to the dataset: report this as a bug"
            )
        container.seek(stamps[-1], stream=stream, backward=True)
        decoded = [frame.pts for frame in container.decode(stream)]
        if not decoded or decoded[-1] != stamps[-1]:
            raise ConfigError(
                f"{source}: the last frame of the video cannot be decoded; report this as a bug"
            )
