"""The pictures that the camera replay serves: drawn once, before anything is measured.

`python -m benchmarks.stored_frames FOLDER` draws two seconds of each of the twin's cameras while
the arm sways, and stores the JPEGs. A process of its own, so that no OpenGL is left in memory.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.bench_rig import CAMERAS, FPS, HEIGHT, WIDTH
from benchmarks.child import ROOT, child_environment
from robot.errors import NotConnected

FRAMES = 2 * FPS
_SWAY_RAD = 0.3


def draw_frames(folder: Path) -> None:
    """Draw into `folder/CAMERA/NUMBER.jpg`; called in the process that is thrown away."""
    from sim.rendering import Renderer
    from sim.world import FollowerWorld

    world = FollowerWorld()
    rest = np.array(world.data.qpos)
    with Renderer(world.model, WIDTH, HEIGHT) as renderer:
        for number in range(FRAMES):
            pose = rest.copy()
            pose[:5] += _SWAY_RAD * np.sin(2 * np.pi * number / FRAMES + np.arange(5))
            for name in CAMERAS:
                path = folder / name / f"{number:03d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(renderer.render_jpeg(pose, name))


def store_frames(folder: Path) -> None:
    """Let another process draw the pictures.

    Raises:
        NotConnected: it could not; what it said stands above.
    """
    command = [sys.executable, "-m", "benchmarks.stored_frames", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=child_environment(), timeout=120, check=False)
    if done.returncode != 0:
        raise NotConnected(
            "the pictures for the cameras could not be drawn (why stands above); cameras need an "
            "OpenGL library (Debian, Ubuntu: apt install libegl1 libgl1-mesa-dri)"
        )


def load_frames(folder: Path) -> dict[str, list[bytes]]:
    """Read what was stored, each camera's pictures in order."""
    return {
        name: [path.read_bytes() for path in sorted((folder / name).glob("*.jpg"))]
        for name in CAMERAS
    }


if __name__ == "__main__":
    draw_frames(Path(sys.argv[1]))
