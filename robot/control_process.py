"""The control process as its session sees it: started, alive, or ended, and then how."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

import robot
from robot.messages import LET_GO, REFUSED, SourceName
from robot.torque import TorqueState

VERDICT_S = 1.5  # the guard's, after control has died


class _GuardFile(msgspec.Struct):
    sentence: str


class ControlProcess:
    """A child process, and the guard's verdict once it has died."""

    def __init__(self, child: "subprocess.Popen[bytes]", folder: Path) -> None:
        self._child = child
        self._verdict_path = folder / "guard.json"
        self._verdict = ""

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._child.poll() is None

    @property
    def has_let_go(self) -> bool:
        """Whether it has ended with every joint read back as off."""
        return self._child.poll() == LET_GO

    @property
    def has_died(self) -> bool:
        """Whether it has ended without a good-bye to the guard, which acts then."""
        return self._child.poll() not in (None, LET_GO, REFUSED)

    def wait(self, timeout_s: float) -> None:
        """Wait until it has ended, and the guard has acted if it must; kills it when it hangs."""
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._child.kill()  # the guard lets go
            self._child.wait()
        if self.has_died:
            self._await_verdict()

    def how_it_ended(self, *, was_ready: bool) -> str:
        """Return how it has ended, and how that leaves the arm; waits for the guard's verdict."""
        code = self._child.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not was_ready and not self._verdict_path.exists():
            return (
                f"the control process did not start ({how}); nothing was powered. "
                "What it said last stands above"
            )
        if code == LET_GO:
            off = TorqueState.OFF
            return f"the control process let go of the arm and ended; follower torque: {off}"
        return f"the control process ended ({how}); {self._await_verdict()}"

    def _await_verdict(self) -> str:
        """Return what the guard says of the arm; it needs a moment after control's end."""
        deadline_s = time.monotonic() + VERDICT_S
        while not self._verdict and not self._verdict_path.exists():
            if time.monotonic() > deadline_s:
                break
            time.sleep(0.02)
        if not self._verdict:
            try:
                data = self._verdict_path.read_bytes()
                self._verdict = msgspec.json.decode(data, type=_GuardFile).sentence
            except (OSError, msgspec.DecodeError):
                self._verdict = "the guard has said nothing: cut the power if the arm is stiff"
        return self._verdict


def spawn_control(
    rig_path: Path,
    source: SourceName,
    run_folder: Path,
    twin_pid: int | None,
    inherited: list[int],
    program: Sequence[str],
) -> "subprocess.Popen[bytes]":
    """Start control's program; `inherited` are descriptors, the session's pulse first."""
    root = Path(robot.__file__).resolve().parent.parent
    given = os.environ.get("PYTHONPATH", "")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(root), *([given] if given else [])]),
        # Six joints need no second thread; read when NumPy is imported.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    arguments = [
        *("--rig", str(rig_path), "--source", source, "--folder", str(run_folder)),
        *("--pulse-fd", str(inherited[0]), "--parent", str(os.getpid())),
        *(() if twin_pid is None else ("--twin-pid", str(twin_pid))),
    ]
    return subprocess.Popen(
        [sys.executable, "-P", *program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # what it has to say comes as messages, or on standard error
        env=environment,
        pass_fds=inherited,
        # A terminal's Ctrl-C is for the command, which then stops this child.
        start_new_session=True,
    )
