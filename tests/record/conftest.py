"""Synthetic episodes, written through the real writer."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from record.header import CameraHeader, JournalHeader
from record.journal import JournalWriter
from robot.frames import Frame
from robot.joint_sample import JointSample
from robot.joints import FloatVector
from robot.loop import Tick

WIDTH, HEIGHT, CAMERA_FPS, RATE_HZ = 64, 48, 30, 100
T0_S = 1000.0


def picture(index: int) -> bytes:
    """A grey whose level is the frame's number, so that a decoded frame says which one it is."""
    image = np.full((HEIGHT, WIDTH, 3), 20 + 5 * (index % 40), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


def make_tick(index: int, time_s: float) -> Tick:
    """Joints and goals are straight lines in time: interpolated values are known exactly."""
    slope: FloatVector = np.arange(1.0, 7.0, dtype=np.float64)
    sample_s: FloatVector = time_s + np.arange(6, dtype=np.float64) * 1e-4
    line: FloatVector = slope * (time_s + 0.002 - T0_S)
    return Tick(
        index=index,
        time_s=time_s,
        lateness_s=1e-4,
        missed=0,
        observed=JointSample(
            time_s=sample_s,
            position_deg=slope * (sample_s - T0_S),
            velocity_deg_s=slope,
            load_pct=np.zeros(6),
            voltage_v=np.full(6, 7.4),
            temperature_celsius=np.full(6, 31.0),
            current_ma=np.full(6, 120.0),
            status=(0, 0, 0, 0, 0, 32),
        ),
        asked_deg=np.add(line, 20.0),
        sent_deg=np.add(line, 10.0),
        sent_s=time_s + 0.002,
    )


def make_header(episode: int = 0, cameras: tuple[str, ...] = ("front", "wrist")) -> JournalHeader:
    return JournalHeader(
        episode=episode,
        task="pick the red block",
        rig_name="twin",
        rig_toml='schema = 1\nname = "twin"\n',
        control_rate_hz=RATE_HZ,
        cameras={name: CameraHeader(WIDTH, HEIGHT, CAMERA_FPS) for name in cameras},
        calibration_sha256={"follower": "ab" * 32},
        gains={"P_Coefficient": [16] * 6},
        software={"python": "3.12"},
        boot_id="boot",
        started_s=T0_S,
        started_utc=f"2026-01-01T00:00:{episode:02d}+00:00",
        seed=episode,
        task_start='{"red_x_m":0.28}',
    )


def write_episode(
    path: Path,
    *,
    episode: int = 0,
    duration_s: float = 1.0,
    cameras: tuple[str, ...] = ("front", "wrist"),
    lost: frozenset[int] = frozenset(),
    outcome: str = "success",
    keep_open: bool = False,
) -> JournalWriter:
    """Write an episode; `lost`: numbers of frames that never arrived."""
    writer = JournalWriter(path, make_header(episode, cameras), read_utc=lambda: "2026-01-01")
    writer.event("start", T0_S)
    frame = 0
    for index in range(int(duration_s * RATE_HZ) + 1):
        now_s = T0_S + index / RATE_HZ
        writer.tick(make_tick(index, now_s))
        while T0_S + frame / CAMERA_FPS <= now_s:
            if frame not in lost:
                for name in cameras:
                    capture_s = T0_S + frame / CAMERA_FPS
                    writer.frame(Frame(name, frame, capture_s, picture(frame), WIDTH, HEIGHT))
            frame += 1
    writer.event("end", T0_S + duration_s, outcome=outcome)
    if not keep_open:
        writer.close()
    return writer


@pytest.fixture(scope="session")
def record_episode() -> Callable[..., JournalWriter]:
    return write_episode


@pytest.fixture(scope="session")
def journals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three finished episodes of different length."""
    folder = tmp_path_factory.mktemp("journals")
    paths = [folder / f"episode_{index:06d}.mcap" for index in range(3)]
    for index, path in enumerate(paths):
        write_episode(path, episode=index, duration_s=0.4 + 0.2 * index)
    return paths


@pytest.fixture
def header() -> JournalHeader:
    return make_header()


@pytest.fixture
def tick_at() -> Callable[[int, float], Tick]:
    return make_tick
