"""The control process's work: idle, drive, come to rest, idle; serve one session meanwhile.

Idle reads and publishes at the control rate with torque off. A drive is `drive.Drive.to_rest`: the
one loop, then the walk to rest and the release, whatever ends it. In every phase the session's
commands are taken and its signs of life and the guard's watched, between two ticks and without
waiting for any of them.
"""

import sys
from collections.abc import Callable

from robot import messages
from robot.clock import Pacer
from robot.control_sources import HeldWhileSilent, StreamedGoals
from robot.drive import Drive, Ending
from robot.errors import ConfigError, ControlLost, NotConnected, So101Error
from robot.hosted import Hosted, Surroundings
from robot.joint_sample import JointSample
from robot.loop import GoalSource, Tick
from robot.realtime import collect_garbage
from robot.session_pulse import REST_AFTER_S
from robot.streams import Asked
from robot.torque import TorqueStates

LOOK_FOR_S = 30.0  # for an unplugged adapter, while the session lives
LOOK_FOR_STOPPED_S = 5.0  # in all, once somebody has asked to stop
# Without a session all is gone within 5 s: the walk takes 4 s at most, release and guard the rest.
LOOK_FOR_ALONE_S = 0.5
ALONE_LIMIT_S = 4.3
RETRY_EVERY_S = 1.0  # while idle: to find an adapter, to release what is still on
DRIVE_WITHIN_S = 3.0  # of power: nothing watches an arm that only stands


class ControlHost:
    """The state machine; a tick listener of its own drives. One thread."""

    def __init__(
        self, hosted: Hosted, around: Surroundings, count_signals: Callable[[], int]
    ) -> None:
        """Take also `count_signals`: how often the process itself was told to end."""
        self._hosted = hosted
        self._streams = around.streams
        self._session = around.session
        self._guard = around.guard
        self._clock = around.clock
        self._log = around.log
        self._count_signals = count_signals
        self.is_released = True  # every joint was read back as off
        self._is_torque_on = False
        self._powered_s = 0.0  # when it came on
        self._is_driving = False
        self._wanted: messages.SourceName | None = None  # the drive that comes next
        self._generation = 0
        self._is_ending = False
        self._is_stop_wanted = False
        self._is_off_wanted = False
        self._cause: ControlLost | None = None  # why the arm comes to rest, if nobody asked
        self._last_cause: ControlLost | None = None  # why it did
        self._is_search_cut = False
        self._alone_since_s: float | None = None  # the session is gone since then
        self._awaiting_release: list[Asked] = []
        self._bus_failure: So101Error | None = None  # while idle
        self._publishes_late = True  # a streamed drive publishes before it asks for the goal
        self._live_number = 0
        self._last_tick: Tick | None = None

    def run(self) -> None:
        """Serve until the session says good-bye or is gone; the arm is let go on every way out."""
        try:
            while not self._is_ending:
                self._idle()
                if self._is_torque_on:
                    self._drive()
        finally:
            self._let_go()

    # -- idle --------------------------------------------------------------------------------------

    def _idle(self) -> None:
        """Read, publish and serve until there is something to drive, or an end."""
        collect_garbage()
        pacer = Pacer(self._hosted.rate_hz, self._clock)
        next_try_s = 0.0
        while True:
            self._attend()
            is_over = self._is_ending or self._is_stop_wanted or self._is_off_wanted
            if self._wanted is not None or is_over:
                if is_over and not self._is_torque_on:
                    self._let_go()
                    if not self._is_ending:
                        continue
                return
            now_s = self._clock.now_s()
            is_well = self._bus_failure is None and (self.is_released or self._is_torque_on)
            if is_well or now_s >= next_try_s:
                next_try_s = now_s + RETRY_EVERY_S
                self._look(now_s)
            pacer.wait()

    def _look(self, now_s: float) -> None:
        """Read and publish; an adapter that is gone is looked for, a joint that is on let go."""
        try:
            if self._bus_failure is not None and not self._hosted.arm.reconnect():
                return
            if not self._is_torque_on and not self.is_released:
                torque = self._release()
                if torque.is_off:
                    self._say(f"follower torque after another try: {torque}")
            self._publish("idle", self._hosted.arm.read(), now_s)
            self._bus_failure = None
        except So101Error as error:
            if self._bus_failure is None:
                self._log.event("bus failed", now_s, sentence=str(error))
            self._bus_failure = error

    # -- drive -------------------------------------------------------------------------------------

    def _drive(self) -> None:
        """Drive, come to rest, let go; without a source wanted, only the latter two."""
        hosted = self._hosted
        self._is_driving = True
        is_asked_for = self._wanted is not None
        source = self._source()
        ending = Ending(
            should_stop=lambda: self._is_stop_wanted or not is_asked_for,
            is_off_wanted=self._attend,
            new_rest=hosted.new_rest,
            look_for_s=self._look_for_s,
            say=self._say,
        )
        drive = Drive(
            arm=hosted.arm,
            monitor=hosted.monitor,
            limiter=hosted.limiter,
            listeners=[self],
            rate_hz=hosted.rate_hz,
            clock=self._clock,
        )
        failure: messages.Failure | None = None
        try:
            drive.to_rest(source, ending)
        except So101Error as error:
            failure = messages.Failure.of(error)
        finally:
            self._is_driving = False
            self._last_tick = None
            defect = sys.exception()
            if defect is not None:
                failure = messages.Failure.of(defect)
            elif failure is None and self._cause is not None:
                failure = messages.Failure.of(self._cause)
            torque = self._let_go()
            if is_asked_for:
                number = self._streams.record.next_number
                ended = messages.DriveEnded(number, self._generation, torque, failure)
                self._streams.record.tell(ended)

    def _look_for_s(self) -> float:
        """Return how long to look for an unplugged adapter in all, as things stand now."""
        if self._session.is_gone:
            return LOOK_FOR_ALONE_S
        if not self._is_stop_wanted:
            return LOOK_FOR_S
        if not self._is_search_cut:
            self._is_search_cut = True
            self._say(f"it is looked for during {LOOK_FOR_STOPPED_S:g} s in all, not longer")
        return LOOK_FOR_STOPPED_S

    def _source(self) -> GoalSource:
        """Return the source of the drive that was asked for, and begin that drive."""
        wanted, self._wanted = self._wanted, None
        self._hosted.limiter.rearm()
        self._hosted.monitor.reset()
        self._publishes_late = wanted != "session"
        streamed = StreamedGoals(
            lambda observed, now_s: self._publish("drive", observed, now_s),
            lambda: self._streams.newest_goal(self._generation),
        )
        leader = self._hosted.leader
        source = streamed if wanted != "leader" or leader is None else leader
        return HeldWhileSilent(source, self._session.silence_s)

    def on_tick(self, tick: Tick) -> None:
        """Tell the session of a tick."""
        self._last_tick = tick
        self._streams.record.tell(
            messages.TickTold(self._streams.record.next_number, self._generation, tick)
        )
        if self._publishes_late or tick.phase == "rest":
            self._publish(tick.phase, tick.observed, tick.time_s)

    def _publish(self, phase: messages.ControlPhase, observed: JointSample, now_s: float) -> None:
        self._live_number += 1
        live = messages.Live(self._live_number, now_s, phase, observed)
        if (tick := self._last_tick) is not None:
            state = (tick.lateness_s, tick.missed, tick.health)
            live = messages.Live(self._live_number, now_s, phase, observed, *state)
        self._streams.publish(live)

    def _say(self, sentence: str) -> None:
        now_s = self._clock.now_s()
        self._streams.record.tell(messages.Said(self._streams.record.next_number, now_s, sentence))
        self._log.event("said", now_s, sentence=sentence)

    def _let_go(self) -> TorqueStates:
        """Release, and answer whoever waits for that."""
        torque = self._release()
        self._is_torque_on = self._is_stop_wanted = self._is_off_wanted = False
        self._is_search_cut = False
        self._wanted = None
        self._last_cause, self._cause = self._cause or self._last_cause, None
        for asked in self._awaiting_release:
            asked.answer(messages.Released(torque))
        self._awaiting_release.clear()
        return torque

    def _release(self) -> TorqueStates:
        torque = self._hosted.arm.release()
        self.is_released = torque.is_off
        self._log.event("released", self._clock.now_s(), torque=str(torque))
        return torque

    # -- what goes on around -----------------------------------------------------------------------

    def _attend(self) -> bool:
        """Take commands, watch session, guard and signals; tell whether to let go at once."""
        now_s = self._clock.now_s()
        self._streams.record.pump()
        while (asked := self._streams.next_request(now_s)) is not None:
            self._take(asked, now_s)
        if self._session.silence_s(now_s) > REST_AFTER_S:
            self._stop_because("the command gives no sign of life")
        if self._session.is_gone:
            self._is_ending = True
            self._alone_since_s = self._alone_since_s or now_s
            self._is_off_wanted |= now_s - self._alone_since_s > ALONE_LIMIT_S
        if self._count_signals():
            self._is_ending = True
            self._is_off_wanted |= self._count_signals() > 1
            self._stop_because("the control process was told to end by a signal")
        if self._is_torque_on and not self._guard.is_watching(now_s):
            self._stop_because("the guard process is gone: nobody would take torque off")
        is_idle = not self._is_driving and self._wanted is None
        if is_idle and now_s - self._powered_s > DRIVE_WITHIN_S:
            self._stop_because(f"no drive began within {DRIVE_WITHIN_S:g} s of power")
        return self._is_off_wanted

    def _stop_because(self, reason: str) -> None:
        """Stop a drive that nobody asked to stop; once."""
        if self._is_torque_on and self._cause is None and not self._is_stop_wanted:
            self._cause = ControlLost(f"{reason}; the arm comes to rest and is released")
            self._is_stop_wanted = True
            self._log.event("stop", self._clock.now_s(), reason=reason)

    def _take(self, asked: Asked, now_s: float) -> None:
        """Carry out a command, or note it for the loop."""
        try:
            match asked.command:
                case messages.Hello():
                    asked.answer(self._hosted.facts)
                case messages.TorqueOn():
                    self._torque_on(now_s)
                    asked.answer(messages.Done())
                case messages.Rearm():
                    self._hosted.limiter.rearm()
                    asked.answer(messages.Done())
                case messages.Drive(source):
                    self._want(source)
                    asked.answer(messages.Driving(self._generation))
                case messages.Stop() | messages.Off() | messages.Bye():
                    self._is_stop_wanted = True
                    self._is_off_wanted |= isinstance(asked.command, messages.Off)
                    self._is_ending |= isinstance(asked.command, messages.Bye)
                    self._awaiting_release.append(asked)
        except So101Error as error:
            asked.answer(messages.Refused(messages.Failure.of(error)))

    def _torque_on(self, now_s: float) -> None:
        if self._is_driving or self._is_stop_wanted:
            raise ConfigError("the arm is being driven already: this is a defect of the command")
        if self._bus_failure is not None:
            raise NotConnected(str(self._bus_failure)) from self._bus_failure
        if not self._guard.is_watching(now_s):
            raise ControlLost("the guard process is gone: torque stays off; start again")
        self.is_released = False
        self._last_cause = None
        self._hosted.arm.torque_on()
        self._is_torque_on = True
        self._powered_s = self._clock.now_s()
        self._log.event("torque on", now_s)

    def _want(self, source: messages.SourceName) -> None:
        if (cause := self._cause or self._last_cause) is not None:
            raise cause
        if self._is_driving or self._is_stop_wanted or not self._is_torque_on:
            raise ConfigError("a drive needs torque on, and an arm that is not being driven")
        if source == "leader" and self._hosted.leader is None:
            raise ConfigError("this control process was started without a leader")
        self._generation += 1
        self._wanted = source
