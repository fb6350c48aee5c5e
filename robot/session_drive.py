"""The session's side of a drive: tell every tick, answer the newest sample, ask to stop."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from robot.errors import ControlLost
from robot.loop import GoalSource, TickListener
from robot.messages import DriveEnded, Gap, GoalAsked, Record, Said, Stop, TickTold
from robot.streams import SessionStreams

TURN_S = 0.02  # longest wait for a message: signals and `should_stop` are looked at then
STOP_WITHIN_S = 5.0  # that control may take to hear a stop
LAST_WORDS_S = 0.2  # that its last words may take to arrive, once it has ended


@runtime_checkable
class GapListener(Protocol):
    """A tick listener that also wants to know which ticks it missed."""

    def on_gap(self, first: int, last: int) -> None:
        """Take note of messages that were lost, by their numbers."""
        ...


@dataclass(frozen=True)
class SessionDrive:
    """One drive, as the session has a part in it; `source` is None where the leader drives."""

    streams: SessionStreams
    generation: int
    source: GoalSource | None
    listeners: Sequence[TickListener]
    should_stop: Callable[[], bool]
    say: Callable[[str], None]

    def run(self, check_alive: Callable[[], None]) -> DriveEnded:
        """Return how the drive ended; `check_alive` raises when control itself has.

        Goals first: a slow listener makes ticks wait in control's ring, and the newest sample is
        answered before the next of them.
        """
        is_stop_sent = False
        while True:
            if self.should_stop() and not is_stop_sent:
                self.streams.request(Stop(), time.monotonic() + STOP_WITHIN_S)
                is_stop_sent = True
            self._answer_sample()
            message = self.streams.next_record()
            if message is None:
                message = self._wait(check_alive)
            if message is None:
                continue
            if isinstance(message, DriveEnded):
                if message.generation == self.generation:
                    return message
            else:
                self._tell(message)

    def _wait(self, check_alive: Callable[[], None]) -> Record | None:
        """Wait a turn; a control that has ended may have said how the drive did."""
        try:
            check_alive()
        except ControlLost:
            message = self.streams.next_record(LAST_WORDS_S)
            if message is None:
                raise
            return message
        self.streams.wait(TURN_S)
        return None

    def _answer_sample(self) -> None:
        """Ask the source what it wants, if there is a sample that it has not seen."""
        live = self.streams.newest()
        if self.source is None or live is None or live.phase != "drive":
            return
        goal = self.source.goal(live.observed, time.monotonic())
        position_deg = np.asarray(goal.position_deg, dtype=np.float64)
        self.streams.send_goal(GoalAsked(self.generation, goal.made_s, position_deg))

    def _tell(self, message: Record) -> None:
        match message:
            case TickTold(_, generation, tick):
                if generation == self.generation:  # none of a drive that was left with an error
                    for listener in self.listeners:
                        listener.on_tick(tick)
            case Said(_, _, sentence):
                self.say(sentence)
            case Gap(first, last):
                self.say(f"the record has a gap: messages {first} to {last} were overtaken")
                for listener in self.listeners:
                    if isinstance(listener, GapListener):
                        listener.on_gap(first, last)
            case DriveEnded():
                pass  # of an earlier one
