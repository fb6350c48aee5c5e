"""Start a mock bus and talk to it: for tests and benchmarks."""

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Self

import msgspec

from robot.errors import ConfigError, NotConnected
from sim import mock_messages as messages
from sim.faults import ArmName, Fault

START_DEADLINE_S = 30.0
ANSWER_DEADLINE_S = 10.0
STOP_DEADLINE_S = 5.0


class MockBusProcess:
    """One running mock bus; a context manager that ends it."""

    def __init__(self, *options: str) -> None:
        """Start it; `options` are those of `python -m sim.mock_bus`.

        Raises:
            NotConnected: it ended or stayed silent; what it said stands on standard error.
        """
        root = str(Path(__file__).resolve().parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sim.mock_bus", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self.ready = self._hear(messages.Ready, START_DEADLINE_S)

    def begin(self) -> float:
        """Forget what was noted; returns the time of it."""
        return self._tell(messages.Begin())

    def move(self, motion: messages.MotionName, size_ticks: int = 8, period_s: float = 0.3) -> None:
        """Let the leader's joints stand still, swing or jump (`messages.Move`)."""
        self._tell(messages.Move(motion, size_ticks, period_s))

    def inject(self, fault: Fault, arm: ArmName = "follower") -> None:
        """Let a fault begin."""
        self._tell(messages.Inject(fault, arm))

    def clear_faults(self) -> None:
        """End all faults."""
        self._tell(messages.ClearFaults())

    def stamp(self, *, is_on: bool) -> None:
        """Show the servos' own clock in registers 67..68: milliseconds modulo 65536."""
        self._tell(messages.Stamp(is_on))

    def registers(self, arm: ArmName, name: str) -> list[int]:
        """Return a register of the six, read from the servos and not over the bus.

        Raises:
            ConfigError: there is no register of that name (LeRobot's spelling).
        """
        self._send(messages.AskRegisters(arm, name))
        answer = self._hear(messages.Registers)
        if answer.error:
            raise ConfigError(answer.error)
        return answer.counts

    def paths(self) -> messages.Paths:
        """Return where the arms are now."""
        self._send(messages.AskPaths())
        return self._hear(messages.Paths)

    def log(self) -> messages.Log:
        """Return what was noted since `begin`."""
        self._send(messages.AskLog())
        return self._hear(messages.Log)

    def close(self) -> None:
        """End it: ask by closing its input, then insist; may be called twice."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_DEADLINE_S)
        self._stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self, request: messages.Request) -> float:
        self._send(request)
        return self._hear(messages.Done).now_s

    def _send(self, request: messages.Request) -> None:
        try:
            self._stdin.write(msgspec.json.encode(request) + b"\n")
            self._stdin.flush()
        except BrokenPipeError as error:
            raise _ended() from error

    def _hear[T](self, answer: type[T], deadline_s: float = ANSWER_DEADLINE_S) -> T:
        if not select.select([self._stdout], [], [], deadline_s)[0]:
            self.close()
            raise NotConnected(f"the mock bus said nothing for {deadline_s:g} s; start it again")
        line = self._stdout.readline()
        if not line:
            self.close()
            raise _ended()
        return msgspec.json.decode(line, type=answer)


def _ended() -> NotConnected:
    return NotConnected("the mock bus ended unexpectedly (what it said stands above)")
