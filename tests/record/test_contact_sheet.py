from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from record.contact_sheet import TILE_WIDTH, contact_sheet
from record.journal import JournalWriter, read_journal
from robot.errors import ConfigError

type Record = Callable[..., JournalWriter]


def test_shows_every_camera_at_every_moment_in_order(
    tmp_path: Path, record_episode: Record
) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=1.0)

    data = contact_sheet(read_journal(path), rows=1, columns=4)

    sheet = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    assert sheet.shape == (2 * TILE_WIDTH * 48 // 64, 4 * TILE_WIDTH)
    middles = [int(sheet[90, TILE_WIDTH * column + TILE_WIDTH // 2]) for column in range(4)]
    assert middles[0] == pytest.approx(20, abs=3)
    assert middles == sorted(middles)
    assert middles[3] == pytest.approx(20 + 5 * 30, abs=3)


def test_the_same_as_jpeg(tmp_path: Path, record_episode: Record) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=0.2)

    assert contact_sheet(read_journal(path), 2, 2, kind="jpeg").startswith(b"\xff\xd8")


def test_without_pictures_it_says_so(tmp_path: Path, record_episode: Record) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=0.2, cameras=())

    with pytest.raises(ConfigError, match="no pictures"):
        contact_sheet(read_journal(path), 1, 1)
