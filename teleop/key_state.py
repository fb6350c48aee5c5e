"""Which keys a person holds down right now, and the dead-man around that knowledge.

A key counts as held only while all of this is true: its press arrived while the operator's window
had the focus, no release has arrived, the display itself said within the last `HEARTBEAT_S` that it
is alive and that the key is down, and no Ctrl, Alt or Super key is pressed. Whatever breaks one of
them (focus lost, listener dead, display frozen) releases every key at once, and a key that was held
through it must be pressed anew. No thread, no device and no library here: `keys.py` feeds this from
the X display.
"""

import threading
from collections import deque
from collections.abc import Set as AbstractSet

from robot.errors import So101Error
from teleop.key_map import BLOCKING_MODIFIERS

HEARTBEAT_S = 0.25  # stale input stops within 250 ms: the rule for browser jogs (lerobot PR 4299)
# Auto-repeat may come as release and press in one burst, well under a millisecond apart; no finger
# taps twice in 20 ms.
REPEAT_WINDOW_S = 0.02
_KEPT_PRESSES = 64


class KeyState:
    """The held keys; any thread may call any method: listeners feed it, the control loop reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pressed_s: dict[str, float] = {}  # keys that are down, whichever window has the focus
        self._released_s: dict[str, float] = {}  # releases that may yet turn out to be auto-repeat
        self._live: set[str] = set()  # keys pressed while in focus and never interrupted since
        self._presses: deque[str] = deque(maxlen=_KEPT_PRESSES)
        self._confirmed_s = float("-inf")
        self._has_focus = False
        self._failure: So101Error | None = None

    def press(self, key: str, time_s: float) -> None:
        """Note that a key went down; auto-repeat of a key that is down changes nothing."""
        with self._lock:
            self._expire_releases(time_s)
            self._released_s.pop(key, None)
            if key in self._pressed_s:
                return
            self._pressed_s[key] = time_s
            if not self._pressed_s.keys().isdisjoint(BLOCKING_MODIFIERS):
                self._live.clear()
            elif self._is_live_at(time_s):
                self._live.add(key)
                self._presses.append(key)

    def release(self, key: str, time_s: float) -> None:
        """Note that a key went up; true once no press follows within `REPEAT_WINDOW_S`."""
        with self._lock:
            if key in self._pressed_s:
                self._released_s[key] = time_s

    def confirm(self, down: AbstractSet[str], *, asked_s: float, has_focus: bool) -> None:
        """Take in what the display itself says; this is the heartbeat.

        Args:
            down: names of the keys that are physically down.
            asked_s: when the display was asked; presses after that cannot be in `down` yet and are
            left alone.
            has_focus: whether the window that had the focus at the start has it now.
        """
        with self._lock:
            if asked_s - self._confirmed_s > HEARTBEAT_S or not has_focus:
                self._live.clear()
            self._confirmed_s = asked_s
            self._has_focus = has_focus
            for key in [
                key
                for key, time_s in self._pressed_s.items()
                if key not in down and time_s < asked_s
            ]:
                self._forget(key)

    def fail(self, error: So101Error) -> None:
        """Release everything for good; the first error is kept for `failure`."""
        with self._lock:
            self._live.clear()
            self._failure = self._failure or error

    def held(self, now_s: float) -> frozenset[str]:
        """Return the names of the keys that count as held; empty when the dead-man says so."""
        with self._lock:
            self._expire_releases(now_s)
            if not self._is_live_at(now_s):
                self._live.clear()
            return frozenset(self._live)

    def take_presses(self) -> list[str]:
        """Return the keys newly pressed since the last call, oldest first: stop, torque off."""
        with self._lock:
            presses = list(self._presses)
            self._presses.clear()
            return presses

    @property
    def confirmed_s(self) -> float:
        """Time of the display's last sign of life; -inf before the first."""
        with self._lock:
            return self._confirmed_s

    @property
    def failure(self) -> So101Error | None:
        """Why the keys are dead for good, or None; the command ends when it sees one."""
        with self._lock:
            return self._failure

    def status(self, now_s: float) -> str:
        """Say in a few words whether the keys are live, for the console."""
        with self._lock:
            if self._failure is not None:
                return f"keys lost: {self._failure}"
            if now_s - self._confirmed_s > HEARTBEAT_S:
                return "keys paused: the display does not answer"
            if not self._has_focus:
                return "keys paused: another window has the focus"
            return "keys live"

    def _is_live_at(self, now_s: float) -> bool:
        return (
            self._failure is None and self._has_focus and now_s - self._confirmed_s <= HEARTBEAT_S
        )

    def _expire_releases(self, now_s: float) -> None:
        for key in [
            key for key, time_s in self._released_s.items() if now_s - time_s > REPEAT_WINDOW_S
        ]:
            self._forget(key)

    def _forget(self, key: str) -> None:
        self._pressed_s.pop(key, None)
        self._released_s.pop(key, None)
        self._live.discard(key)
