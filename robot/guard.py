"""The guard: lets the follower go when the control process cannot.

A process of its own with nothing but the standard library, started by control (`guard_link`)
before any torque: `python -I -S guard.py SOCKET_FD CONTROL_PID RUN_FOLDER`. Over a socket pair it
is handed a duplicate of the follower port's descriptor and hears control's heartbeat. When control
ends without a good-bye, or has not beaten for `SILENCE_S`, the guard broadcasts torque-off twice
on that descriptor, reads every servo back, and leaves its verdict as `guard.json` in the run
folder and as a sentence on standard error. A silent control is killed first: once resumed it would
send goals again, and a goal powers a servo.

The duplicate is the very line that control used: no path to look up, no lock to win (docs/adr).
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import termios
import time
from datetime import UTC, datetime
from pathlib import Path

SILENCE_S = 1.0  # without a heartbeat; control beats ten times in it
UNARMED_SILENCE_S = 5.0  # while no port is watched: opening one may take its time
OVERSLEPT_S = 0.3  # a wait this much too long: the machine stood still, control too
PRIORITY = 81  # above control's own, where the system grants it: a spinning control cannot hide
# Messages of control, by their first byte; the guard sends that byte back. WATCH carries the path
# and the descriptor of the follower's port; FORGET closes it, for the adapter is gone.
WATCH, FORGET, BEAT, GOODBYE = b"W", b"F", b"B", b"Q"

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
OFF, ON, UNREACHABLE = "off (read back)", "on (read back)", "not reachable: cut the power"

_BROADCAST, _READ, _WRITE = 0xFE, 0x02, 0x03
_TORQUE_ENABLE = 40
_SETTLE_S = 0.01  # what control had begun to write leaves: 1 000 bytes at 1 Mbps
_REPLY_S = 0.03  # a status packet takes 0.1 ms; the rest is for the adapter and the scheduler
_TRIES = 3
_DEATH_S = 0.3  # to wait for a killed control: nothing it had begun may come after torque-off


def frame(servo_id: int, instruction: int, *parameters: int) -> bytes:
    """Return an instruction packet: FF FF id len instruction parameters checksum."""
    body = bytes((servo_id, len(parameters) + 2, instruction, *parameters))
    return b"\xff\xff" + body + bytes((~sum(body) & 0xFF,))


_TORQUE_OFF = frame(_BROADCAST, _WRITE, _TORQUE_ENABLE, 0)


def release(port: int) -> dict[str, str]:
    """Broadcast torque-off twice, read every servo back, and return each joint's state."""
    _make_readable(port)
    time.sleep(_SETTLE_S)
    _write(port, _TORQUE_OFF)
    _write(port, _TORQUE_OFF)
    return {name: _let_go(port, servo_id) for servo_id, name in enumerate(JOINTS, start=1)}


def _make_readable(port: int) -> None:
    """Never wait on the line, and wake for one byte: control may have asked for more (VMIN)."""
    with contextlib.suppress(OSError, termios.error):
        os.set_blocking(port, False)
        mode = termios.tcgetattr(port)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(port, termios.TCSANOW, mode)


def _let_go(port: int, servo_id: int) -> str:
    """Return the torque state of one servo; tells it again while it does not say off."""
    state = UNREACHABLE
    for _ in range(_TRIES):
        torque = _read_torque(port, servo_id)
        if torque == 0:
            return OFF
        if torque is not None:
            state = ON
        _write(port, _TORQUE_OFF)
    return state


def _read_torque(port: int, servo_id: int) -> int | None:
    """Return Torque_Enable of a servo, None when no intact reply comes."""
    with contextlib.suppress(OSError, termios.error):
        termios.tcflush(port, termios.TCIFLUSH)
    _write(port, frame(servo_id, _READ, _TORQUE_ENABLE, 1))
    header, received = bytes((0xFF, 0xFF, servo_id, 3)), b""
    deadline_s = time.monotonic() + _REPLY_S
    while (left_s := deadline_s - time.monotonic()) > 0:
        if not select.select([port], [], [], left_s)[0]:
            return None
        try:
            received += os.read(port, 256)
        except OSError:
            return None
        start = received.find(header)  # an adapter that echoes puts the request before it
        packet = received[start : start + 7] if start >= 0 else b""
        if len(packet) == 7 and sum(packet[2:]) & 0xFF == 0xFF:
            return packet[5]
    return None


def _write(port: int, data: bytes) -> None:
    """Write without ever waiting: a line that takes nothing is not reachable."""
    with contextlib.suppress(OSError):
        os.write(port, data)


class Guard:
    """One control process and the line to its follower."""

    def __init__(self, link: socket.socket, control_pid: int, folder: Path) -> None:
        self._link = link
        self._control = os.pidfd_open(control_pid)
        self._control_pid = control_pid
        self._folder = folder
        self._port: int | None = None
        self._path = ""
        self._beat_s = time.monotonic()
        self._has_overslept = False  # since the last beat
        self._watched: list[socket.socket | int] = [link, self._control]

    def watch(self) -> str:
        """Return why the follower has to be let go; empty after a good-bye."""
        while True:
            silence_s = UNARMED_SILENCE_S if self._port is None else SILENCE_S
            end_s = max(time.monotonic(), self._beat_s + silence_s)
            wait_s = max(0.0, end_s - time.monotonic())
            ready = select.select(self._watched, [], [], wait_s)[0]
            late_s = time.monotonic() - end_s
            if self._link in ready:
                if self._hear():
                    return ""
            elif self._control in ready:  # only when nothing it said is left to read
                return "the control process ended without a good-bye"
            elif late_s > OVERSLEPT_S and not self._has_overslept:
                self._has_overslept = True
                self._beat_s = time.monotonic()  # one more chance
            elif late_s >= 0.0:
                self._kill()
                return f"the control process gave no sign of life for {silence_s:g} s: it was ended"

    def act(self, cause: str) -> str:
        """Let go of the follower; leave the verdict in the run folder and return it."""
        torque: dict[str, str] = {}
        if self._port is not None:
            torque = release(self._port)
            held = [f"{name} {state}" for name, state in torque.items() if state != OFF]
            found = f"follower torque on {self._path}: {', '.join(held) or OFF}"
        elif self._path:
            torque = dict.fromkeys(JOINTS, UNREACHABLE)
            found = f"the follower's adapter {self._path} was unplugged: torque {UNREACHABLE}"
        else:
            found = "no follower had been opened"
        sentence = f"{cause}; {found}"
        verdict = {
            "schema": 1,
            "cause": cause,
            "control_pid": self._control_pid,
            "port": self._path,
            "monotonic_s": time.monotonic(),
            "utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "torque": torque,
            "sentence": sentence,
        }
        with contextlib.suppress(OSError):  # the folder may be gone with the session
            part = self._folder / "guard.json.part"
            part.write_text(json.dumps(verdict, indent=2) + "\n")
            part.replace(self._folder / "guard.json")
        return sentence

    def _hear(self) -> bool:
        """Take one message; tell whether it was the good-bye."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._link, 4096, 1)
        except OSError:
            message, descriptors = b"", []
        if not message:  # the other end is closed: all that is left is to wait for its death
            self._watched.remove(self._link)
            return False
        self._beat_s = time.monotonic()
        self._has_overslept = False
        kind = message[:1]
        if kind in (WATCH, FORGET):
            self._forget()
        if descriptors:
            self._port = descriptors[0]
            self._path = message[1:].decode(errors="replace")
        with contextlib.suppress(OSError):  # control does not listen just now
            self._link.send(kind)
        return kind == GOODBYE

    def _forget(self) -> None:
        """Close the port; its path stays, for the verdict."""
        if self._port is not None:
            os.close(self._port)
            self._port = None

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._control, signal.SIGKILL)
        select.select([self._control], [], [], _DEATH_S)


def main(arguments: list[str]) -> int:
    """Watch until control says good-bye or has to be replaced."""
    descriptor, control_pid, folder = arguments
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)  # it ends with control, whatever else ends
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    link = socket.socket(fileno=int(descriptor))
    link.setblocking(False)
    try:
        guard = Guard(link, int(control_pid), Path(folder))
    except ProcessLookupError:
        return 0  # control ended before it had anything to guard
    gc.collect()
    gc.freeze()
    gc.disable()
    cause = guard.watch()
    if not cause:
        return 0
    sentence = guard.act(cause)
    with contextlib.suppress(OSError):
        sys.stderr.write(f"so101 guard: {sentence}\n")
        sys.stderr.flush()
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
