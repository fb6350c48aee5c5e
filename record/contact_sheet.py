"""An episode at a glance: pictures at even times, with the joint positions written in."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from record.align import nearest
from record.images import Image, decode_jpeg, draw_text, encode_jpeg, encode_png, resize
from record.journal_reader import Journal
from robot.errors import ConfigError

TILE_WIDTH = 240  # pixels a picture
_LINE_HEIGHT = 14


def contact_sheet(
    journal: Journal, rows: int, columns: int, *, kind: Literal["png", "jpeg"] = "png"
) -> bytes:
    """Return rows times columns moments of an episode, every camera in each, as PNG or JPEG.

    Raises:
    ConfigError: the journal holds no picture.
    """
    if not journal.cameras or not len(journal.joints.time_s):
        raise ConfigError(
            f"{journal.path} holds no pictures or no joint samples: "
            "there can be no contact sheet of it"
        )
    moments_s = _moments(journal, rows * columns)
    moments = [_moment(journal, float(time_s)) for time_s in moments_s]
    lines = [np.hstack(moments[row * columns : (row + 1) * columns]) for row in range(rows)]
    sheet: Image = np.ascontiguousarray(np.vstack(lines))
    return encode_png(sheet) if kind == "png" else encode_jpeg(sheet)


def _moments(journal: Journal, count: int) -> NDArray[np.float64]:
    first_s = max(float(track.capture_s[0]) for track in journal.cameras.values())
    last_s = min(float(track.capture_s[-1]) for track in journal.cameras.values())
    moments_s: NDArray[np.float64] = np.linspace(first_s, last_s, count, dtype=np.float64)
    return moments_s


def _moment(journal: Journal, time_s: float) -> Image:
    pictures: list[Image] = []
    for name, track in journal.cameras.items():
        index = int(nearest(track.capture_s, np.array([time_s]))[0])
        height = round(track.height * TILE_WIDTH / track.width)
        picture = resize(decode_jpeg(track.jpeg(index), journal.path), TILE_WIDTH, height)
        draw_text(picture, name, TILE_WIDTH - 8 * len(name) - 4, _LINE_HEIGHT)
        pictures.append(picture)
    sample = int(nearest(journal.joints.time_s.max(axis=1), np.array([time_s]))[0])
    position = [f"{value:.0f}" for value in journal.joints.position_deg[sample]]
    draw_text(pictures[0], f"{time_s - journal.goals.time_s[0]:.2f} s", 4, _LINE_HEIGHT)
    draw_text(pictures[-1], " ".join(position), 4, pictures[-1].shape[0] - 6, scale=0.35)
    return np.vstack(pictures)
