from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from record.feature_stats import ImageLevels, number_stats, sampled_frames
from record.images import Image, decode_jpeg, encode_jpeg, encode_png
from record.video import ENCODERS, check_video, encode_video
from robot.errors import ConfigError

HERE = Path("journal.mcap")


def coloured(index: int) -> Image:
    """Large flat patches: what a video loses is not their colour."""
    image = np.zeros((48, 64, 3), dtype=np.uint8)
    image[:24, :32] = (200, 30, 30)
    image[:24, 32:] = (30, 160, 60)
    image[24:, :32] = (40, 60, 190)
    image[24:, 32:] = 10 * index
    return image


@pytest.mark.parametrize("codec", ENCODERS)
@pytest.mark.parametrize("fps", [10, 30, 50])
def test_every_frame_is_there_at_its_time_in_its_colours(
    tmp_path: Path, codec: str, fps: int
) -> None:
    images = [coloured(index) for index in range(9)]
    data = encode_video(images, fps, ENCODERS[codec])
    path = tmp_path / "video.mp4"
    path.write_bytes(data)

    check_video(data, frames=9, fps=fps, source=HERE)

    container = av.open(str(path), mode="r")
    frames = list(container.decode(video=0))
    assert container.streams.video[0].average_rate == fps
    container.close()
    times = [(frame.pts or 0) * (frame.time_base or 0) for frame in frames]
    assert times == [Fraction(index, fps) for index in range(9)]
    for image, frame in zip(images, frames, strict=True):
        decoded = frame.to_ndarray(format="rgb24").astype(int)
        assert np.abs(decoded - image)[4:-4:8, 4:-4:8].mean() < 6


@pytest.mark.parametrize("frames", [8, 10])
def test_a_video_with_another_number_of_frames_is_refused(frames: int) -> None:
    data = encode_video([coloured(index) for index in range(9)], 30, ENCODERS["h264"])

    with pytest.raises(ConfigError, match=f"9 frames for {frames} rows"):
        check_video(data, frames=frames, fps=30, source=HERE)


def test_a_video_at_another_rate_is_refused() -> None:
    data = encode_video([coloured(index) for index in range(9)], 25, ENCODERS["h264"])

    with pytest.raises(ConfigError, match="times are off"):
        check_video(data, frames=9, fps=30, source=HERE)


def test_an_odd_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="65 x 48 is odd"):
        encode_video([np.zeros((48, 65, 3), dtype=np.uint8)], 30, ENCODERS["h264"])


def test_jpeg_keeps_its_channels() -> None:
    image = coloured(3)

    for encode in (encode_jpeg, encode_png):
        decoded = decode_jpeg(encode(image), HERE)
        assert np.abs(decoded.astype(int) - image)[4:-4:8, 4:-4:8].mean() < 6


@pytest.mark.parametrize("jpeg", [b"", b"\xff\xd8 not a picture"])
def test_a_damaged_picture_names_its_file(jpeg: bytes) -> None:
    with pytest.raises(ConfigError, match=r"journal\.mcap.*not a readable JPEG"):
        decode_jpeg(jpeg, HERE)


def test_image_statistics_are_exact() -> None:
    images = [np.random.default_rng(seed).integers(0, 256, (40, 60, 3)) for seed in range(4)]
    levels = ImageLevels()
    for image in images:
        levels.add(image.astype(np.uint8))

    stats = levels.stats(frames=4)

    pixels = np.concatenate([image[::2, ::2].reshape(-1, 3) for image in images]) / 255
    np.testing.assert_allclose(stats["mean"].ravel(), pixels.mean(axis=0))
    np.testing.assert_allclose(stats["std"].ravel(), pixels.std(axis=0))
    np.testing.assert_array_equal(stats["min"].ravel(), pixels.min(axis=0))
    np.testing.assert_array_equal(stats["max"].ravel(), pixels.max(axis=0))
    for name, share in {"q01": 0.01, "q50": 0.5, "q99": 0.99}.items():
        expected = np.quantile(pixels, share, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(stats[name].ravel(), expected)
    assert stats["count"].tolist() == [4]


def test_a_constant_signal_has_no_spread() -> None:
    stats = number_stats(np.full(50, 0.1, dtype=np.float32))

    assert stats["std"][0] < 1e-12
    assert stats["min"][0] == stats["max"][0] == stats["q50"][0]


@pytest.mark.parametrize("count", [1, 2, 59, 60, 61, 5000])
def test_sampled_frames_are_spread_over_the_episode(count: int) -> None:
    frames = sampled_frames(count)

    assert frames[0] == 0
    assert frames[-1] == count - 1
    assert len(set(frames.tolist())) == len(frames) <= 60
