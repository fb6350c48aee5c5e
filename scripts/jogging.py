"""What a person at a keyboard jog sees, and which keys end it; one tick listener beside the jog."""

from rich.console import Console

from robot.loop import Tick
from teleop.jog import JogGoals
from teleop.key_map import STOP_KEYS, TORQUE_OFF_KEYS
from teleop.key_state import KeyState


class JogConsole:
    """Print when keys go dead or live or a motion cannot go on, and end the loop on a stop key."""

    def __init__(self, keys: KeyState, jog: JogGoals, console: Console) -> None:
        self._keys = keys
        self._jog = jog
        self._console = console
        self._said = ""
        self.is_stopping = False

    def on_tick(self, tick: Tick) -> None:
        """Look at the keys; says something only when it changes.

        Raises:
            KeyboardInterrupt: the key for torque off: the arm lets go at once, without a walk.
        """
        pressed = self._keys.take_presses()
        if not {*TORQUE_OFF_KEYS}.isdisjoint(pressed):
            raise KeyboardInterrupt("the key for torque off was pressed")
        self.is_stopping |= not {*STOP_KEYS}.isdisjoint(pressed)
        self.is_stopping |= self._keys.failure is not None
        status = self._keys.status(tick.time_s)
        if self._jog.blocked:
            status = f"{status}; {self._jog.blocked}"
        if status != self._said:
            self._said = status
            self._console.print(status, highlight=False)
