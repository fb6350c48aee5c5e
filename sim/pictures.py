"""Draws the pictures of the documents: `python -m sim.pictures docs/pictures`.

The scene is not posed: the scripted person takes the follower itself by the hand, without servos,
and picks the red block.
"""

import sys
from pathlib import Path

import numpy as np

from robot.joints import FloatVector
from sim.demonstrators.pick_red import PickRedDemonstrator
from sim.rendering import CAMERAS, Image, Renderer, encode_png, halved
from sim.tasks.pick_red import sample_start
from sim.world import STEP_S, FollowerWorld

SEED = 34
HAND_STEPS = 10
WIDTH_PX, HEIGHT_PX = 1200, 720
MOMENTS = (0.02, 0.42, 0.62, 0.80, 1.0)  # of the attempt, for the strip of camera pictures


def demonstration(world: FollowerWorld, seed: int) -> list[FloatVector]:
    """Pick the red block with the follower in hand; return the world's `qpos` every 10 ms."""
    start = sample_start(np.random.default_rng(seed))
    world.reset(start)
    hand = PickRedDemonstrator(world, start.seed)
    still = np.zeros(6)
    history: list[FloatVector] = []
    while not hand.done:
        now_s = len(history) * HAND_STEPS * STEP_S
        target_rad = hand.target_rad(now_s, world.position_rad, world.position_rad)
        for _ in range(HAND_STEPS):
            world.step(still, target_rad)
        history.append(world.data.qpos.copy())
    return history


def draw_twin(world: FollowerWorld, qpos: FloatVector) -> Image:
    """Draw the arm over its table, twice as large and halved: shadows get soft edges."""
    with Renderer(world.model, 2 * WIDTH_PX, 2 * HEIGHT_PX, is_fine=True) as renderer:
        large = renderer.render_view(
            qpos,
            look_at_m=np.array([0.185, 0.015, 0.095]),
            distance_m=0.52,
            azimuth_deg=131.0,
            elevation_deg=-18.0,
        )
    return halved(large)


def draw_cameras(world: FollowerWorld, history: list[FloatVector]) -> Image:
    """Draw what both cameras see at some moments of an attempt: a row a camera."""
    moments = [history[round(share * (len(history) - 1))] for share in MOMENTS]
    with Renderer(world.model, 320, 240) as renderer:
        rows = [
            np.concatenate([renderer.render_rgb(qpos, name) for qpos in moments], axis=1)
            for name in CAMERAS
        ]
    return np.concatenate(rows, axis=0)


def main(folder: Path) -> None:
    """Write twin.png and cameras.png."""
    folder.mkdir(parents=True, exist_ok=True)
    world = FollowerWorld()
    history = demonstration(world, SEED)
    (folder / "twin.png").write_bytes(encode_png(draw_twin(world, history[-1])))
    (folder / "cameras.png").write_bytes(encode_png(draw_cameras(world, history)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
