"""Which key does what in a keyboard jog: data for the jog and for the legend.

Keys that mean something while recording or deploying (arrows, n, r, s, f, b, q, Esc, Space, Tab,
Enter, Backspace, Delete and !) keep that meaning: no jog key is one of them. The right hand moves
(i j k l as arrows, y and h beside them for height, u and o above them for roll), the left hand
tilts and works the gripper.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from robot.joints import FloatVector


class JogAxis(IntEnum):
    """What a key moves; the value is the index into a jog vector of shape (6,)."""

    FORWARD = 0  # base frame x, away from the base
    LEFT = 1  # base frame y
    UP = 2  # base frame z
    TILT_UP = 3  # about the wrist-flex axis: the gripper's tip rises
    ROLL_RIGHT = 4  # about the gripper's own axis, clockwise as seen from the arm
    OPEN = 5  # gripper


@dataclass(frozen=True, slots=True)
class JogAction:
    """One thing a held key does: move along `axis` in direction `sign`."""

    keys: tuple[str, ...]  # pynput's names, letters in lower case
    axis: JogAxis
    sign: int
    label: str


JOG_ACTIONS: tuple[JogAction, ...] = (
    JogAction(("i",), JogAxis.FORWARD, +1, "forward"),
    JogAction(("k",), JogAxis.FORWARD, -1, "back"),
    JogAction(("j",), JogAxis.LEFT, +1, "left"),
    JogAction(("l",), JogAxis.LEFT, -1, "right"),
    JogAction(("y", "page_up"), JogAxis.UP, +1, "up"),
    JogAction(("h", "page_down"), JogAxis.UP, -1, "down"),
    JogAction(("e",), JogAxis.TILT_UP, +1, "tilt up"),
    JogAction(("d",), JogAxis.TILT_UP, -1, "tilt down"),
    JogAction(("u",), JogAxis.ROLL_RIGHT, -1, "roll left"),
    JogAction(("o",), JogAxis.ROLL_RIGHT, +1, "roll right"),
    JogAction(("v",), JogAxis.OPEN, +1, "open"),
    JogAction(("c",), JogAxis.OPEN, -1, "close"),
)
STOP_KEYS = ("esc", "q")
TORQUE_OFF_KEYS = ("!",)
# Ctrl-C must not close the gripper on its way: while one of these is down no key moves anything.
BLOCKING_MODIFIERS = (
    "ctrl",
    "ctrl_l",
    "ctrl_r",
    "alt",
    "alt_l",
    "alt_r",
    "alt_gr",
    "cmd",
    "cmd_l",
    "cmd_r",
)

_KEY_LABELS = {"page_up": "PgUp", "page_down": "PgDn", "esc": "Esc"}


def jog_fractions(held: AbstractSet[str]) -> FloatVector:
    """Return what held keys ask for: -1, 0 or 1 each, shape (6,) as `JogAxis`; opposites cancel."""
    fractions: FloatVector = np.zeros(len(JogAxis))
    for action in JOG_ACTIONS:
        if not held.isdisjoint(action.keys):
            fractions[action.axis] += action.sign
    return fractions


def legend() -> str:
    """Return the keys as a few lines of text, at most 80 columns wide."""
    rows = [JOG_ACTIONS[start : start + 4] for start in range(0, len(JOG_ACTIONS), 4)]
    lines = ["Hold a key to move the gripper; let go and it stands still."]
    lines += ["  " + "".join(f"{_entry(action):<19}" for action in row).rstrip() for row in rows]
    lines.append(f"  {_name_keys(STOP_KEYS)} stop     {_name_keys(TORQUE_OFF_KEYS)} torque off now")
    lines.append("Keys count only while this terminal has the focus.")
    return "\n".join(lines)


def _entry(action: JogAction) -> str:
    return f"{_name_keys(action.keys)} {action.label}"


def _name_keys(keys: tuple[str, ...]) -> str:
    return "/".join(_KEY_LABELS.get(key, key) for key in keys)
