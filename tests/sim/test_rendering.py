"""What the cameras see, drawn the same way each time."""

import cv2
import numpy as np
import pytest

from robot.errors import ConfigError
from sim.rendering import CAMERAS, Image, Renderer, encode_png, halved
from sim.tasks.pick_red import sample_start
from sim.world import FollowerWorld


@pytest.fixture(scope="module")
def world() -> FollowerWorld:
    return FollowerWorld()


def share_of(image: Image, colour: str) -> float:
    """Return the share of pixels in which one channel is more than twice each of the others."""
    channel = ("red", "green", "blue").index(colour)
    pixels = image.astype(float)
    others = np.delete(pixels, channel, axis=2).max(axis=2)
    return float(np.mean(pixels[:, :, channel] > 2 * others + 10))


def test_both_cameras_see_the_red_block_at_the_start(world: FollowerWorld) -> None:
    with Renderer(world.model, 160, 120) as renderer:
        for seed in range(6):
            world.reset(sample_start(np.random.default_rng(seed)))
            for name in CAMERAS:
                image = renderer.render_rgb(world.data.qpos, name)
                assert image.shape == (120, 160, 3)
                assert share_of(image, "red") > 3e-4, (seed, name)
                assert image.std() > 10


def test_the_front_camera_tells_the_blocks_apart(world: FollowerWorld) -> None:
    world.reset(sample_start(np.random.default_rng(1)))
    with Renderer(world.model, 320, 240) as renderer:
        image = renderer.render_rgb(world.data.qpos, "front")

    assert all(share_of(image, colour) > 5e-4 for colour in ("red", "green", "blue"))


def test_one_state_is_one_picture(world: FollowerWorld) -> None:
    world.reset(sample_start(np.random.default_rng(2)))
    start = world.data.qpos.copy()
    moved = start.copy()
    moved[0] += 0.3
    with Renderer(world.model, 160, 120) as first, Renderer(world.model, 160, 120) as second:
        again = [r.render_jpeg(q, "wrist") for q in (start, moved, start) for r in (first, second)]

    assert again[0] == again[1] == again[4] == again[5]
    assert again[2] == again[3] != again[0]


def test_a_picture_does_not_depend_on_what_the_world_did_since(world: FollowerWorld) -> None:
    world.reset(sample_start(np.random.default_rng(3)))
    qpos = world.data.qpos.copy()
    with Renderer(world.model, 160, 120) as renderer:
        before = renderer.render_jpeg(qpos, "front")
        for _ in range(100):
            world.step(np.full(6, 0.5))
        after = renderer.render_jpeg(qpos, "front")

    assert before == after


def test_jpeg_is_the_picture_in_the_right_colours(world: FollowerWorld) -> None:
    world.reset(sample_start(np.random.default_rng(4)))
    with Renderer(world.model, 160, 120) as renderer:
        drawn = renderer.render_rgb(world.data.qpos, "front")
        jpeg = renderer.render_jpeg(world.data.qpos, "front", quality=95)
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)

    assert decoded is not None
    assert np.abs(decoded[:, :, ::-1].astype(float) - drawn).mean() < 4
    lossless = cv2.imdecode(np.frombuffer(encode_png(drawn), np.uint8), cv2.IMREAD_COLOR)
    assert lossless is not None
    assert np.array_equal(lossless[:, :, ::-1], drawn)


def test_halving_takes_the_mean_of_four_pixels() -> None:
    image = np.array([[[0] * 3, [8] * 3], [[40] * 3, [200] * 3]], dtype=np.uint8)

    assert halved(image).tolist() == [[[62, 62, 62]]]


def test_an_unknown_camera_is_refused_by_name(world: FollowerWorld) -> None:
    with (
        Renderer(world.model, 64, 48) as renderer,
        pytest.raises(ConfigError, match=r"no camera 'top'; its cameras are wrist, front"),
    ):
        renderer.render_rgb(world.data.qpos, "top")


def test_closing_twice_is_allowed(world: FollowerWorld) -> None:
    renderer = Renderer(world.model, 64, 48)
    renderer.close()
    renderer.close()
