"""The planner of real time: the policy in a process of its own, away from the control loop.

`PolicyProcess` is the loop's side. It starts a fresh interpreter (never a fork: the child must not
inherit an open port), talks to it over a ZeroMQ socket in the run folder, and never blocks after
`open`. The child (`policy_worker`) imports torch, runs at nice 10 with one thread, warms up before
it says it is ready, and dies with its parent.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec
import zmq

import deploy
from deploy.checkpoint import read_checkpoint
from deploy.plans import Failed, Observation, Plan, Ready, Reset, Stop, decode_from_policy, encode
from robot.errors import ConfigError, PolicyFailed

READY_DEADLINE_S = 180.0  # importing torch and lerobot alone takes 40 s on two busy cores
SILENCE_DEADLINE_S = 5.0  # idle children beat every 0.2 s; a single inference may take this long
STOP_DEADLINE_S = 2.0
LAST_WORDS_MS = 100


class PolicyProcess:
    """A `Planner` whose policy runs in a child process. Use from one thread."""

    def __init__(
        self, child: "subprocess.Popen[bytes]", socket: "zmq.Socket[bytes]", folder: Path
    ) -> None:
        self._child = child
        self._socket = socket
        self._folder = folder
        self._is_busy = False
        self._heard_s = time.monotonic()
        self._is_closed = False
        self.ready: Ready | None = None
        self.execute_steps = 0

    @classmethod
    def open(
        cls,
        checkpoint: Path,
        *,
        run_folder: Path,
        dataset_root: Path | None = None,
        task: str = "",
        on_wait: Callable[[float], None] | None = None,
        ready_deadline_s: float = READY_DEADLINE_S,
    ) -> Self:
        """Start the child and wait until it is warm.

        `on_wait` is called with the seconds waited, about five times a second.

        Raises:
            ConfigError: unknown or unusable checkpoint.
            PolicyFailed: the child ended or was not ready in time.
        """
        process = cls.start(checkpoint, run_folder=run_folder, dataset_root=dataset_root, task=task)
        try:
            process.wait_ready(on_wait=on_wait, deadline_s=ready_deadline_s)
        except BaseException:
            process.close()
            raise
        return process

    @classmethod
    def start(
        cls, checkpoint: Path, *, run_folder: Path, dataset_root: Path | None = None, task: str = ""
    ) -> Self:
        """Start the child and return at once; `wait_ready` must follow.

        Call from the main thread: the child dies with the thread that started it.
        """
        found = read_checkpoint(
            checkpoint, dataset_root=dataset_root
        )  # refuse here, before torch is loaded
        address = f"ipc://{run_folder / 'policy'}"
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = context.socket(zmq.PAIR)
        socket.setsockopt(zmq.LINGER, 0)
        try:
            socket.bind(address)
            child = _start_worker(
                run_folder, [str(found.path), str(dataset_root or ""), task, address]
            )
        except (zmq.ZMQError, OSError) as error:
            context.destroy(linger=0)
            raise ConfigError(
                f"cannot start the policy process with its socket and log in {run_folder}: "
                f"{error}; "
                "free some space there, or set XDG_RUNTIME_DIR to a folder of your own"
            ) from error
        return cls(child, socket, run_folder)

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def wait_ready(
        self,
        *,
        on_wait: Callable[[float], None] | None = None,
        deadline_s: float = READY_DEADLINE_S,
    ) -> Ready:
        """Wait until the policy is loaded and warm; raises as `open`."""
        started_s = time.monotonic()
        while self.ready is None:
            waited_s = time.monotonic() - started_s
            if waited_s > deadline_s:
                raise PolicyFailed(
                    f"the policy was not ready after {waited_s:.0f} s; see "
                    f"{self._folder / 'policy.log'}"
                )
            if on_wait is not None:
                on_wait(waited_s)
            self._socket.poll(200)
            self._receive()
        return self.ready

    def reset(self, seed: int) -> None:
        """Start a rollout with this seed; a plan still being made comes with an old generation."""
        self._send(Reset(seed))

    def is_idle(self) -> bool:
        """Tell whether no observation is under way."""
        return not self._is_busy

    def request(self, observation: Observation, now_s: float) -> None:
        """Hand an observation to the child."""
        del now_s  # real time passes by itself
        self._is_busy = True
        self._heard_s = time.monotonic()
        self._send(observation)

    def poll(self, now_s: float) -> Plan | None:
        """Return a finished plan; raises PolicyFailed when the child died, failed or hangs."""
        del now_s
        return self._receive()

    def close(self) -> None:
        """Stop the child, within 2 s by its own will, else at once; may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if self._child.poll() is None:
                try:
                    self._socket.send(encode(Stop()), zmq.NOBLOCK)
                    self._child.wait(STOP_DEADLINE_S if self.ready is not None else 0.0)
                except (zmq.ZMQError, subprocess.TimeoutExpired):
                    self._child.kill()  # it owns nothing that would need a good-bye
            self._child.wait()
        finally:
            self._socket.context.destroy(linger=0)
            (self._folder / "policy").unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, message: Observation | Reset) -> None:
        try:
            self._socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again as error:
            raise PolicyFailed(
                f"the policy process does not take messages ({self._how_it_ended()})"
            ) from error

    def _receive(self) -> Plan | None:
        """Read what has arrived, to the first plan."""
        # Asked first: what a child sent before it ended is then in the socket, and says more.
        has_ended = self._child.poll() is not None and not self._socket.poll(LAST_WORDS_MS)
        while True:
            try:
                message = decode_from_policy(self._socket.recv(zmq.NOBLOCK))
            except zmq.Again:
                self._check_alive(has_ended=has_ended)
                return None
            except msgspec.DecodeError as error:
                raise PolicyFailed(
                    f"the policy process sent something unreadable: {error}"
                ) from error
            self._heard_s = time.monotonic()
            if isinstance(message, Plan):
                self._is_busy = False
                return message
            if isinstance(message, Ready):
                self.ready = message
                self.execute_steps = message.execute_steps
            elif isinstance(message, Failed):
                raise (ConfigError if message.is_config_error else PolicyFailed)(message.sentence)

    def _check_alive(self, *, has_ended: bool) -> None:
        if has_ended:
            raise PolicyFailed(f"the policy process ended: {self._how_it_ended()}")
        silent_s = time.monotonic() - self._heard_s
        if self.ready is not None and silent_s > SILENCE_DEADLINE_S:
            raise PolicyFailed(
                f"the policy process has been silent for {silent_s:.0f} s; see "
                f"{self._folder / 'policy.log'}"
            )

    def _how_it_ended(self) -> str:
        code = self._child.poll()
        if code is None:
            return "it is still running"
        try:
            lines = (self._folder / "policy.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        last = f", its last words: {lines[-1][:300]}" if lines else ""
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{how}{last}; start the command again"


def _start_worker(run_folder: Path, arguments: list[str]) -> "subprocess.Popen[bytes]":
    root = Path(deploy.__file__).resolve().parent.parent
    given = os.environ.get("PYTHONPATH", "")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(root), *([given] if given else [])]),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",  # nothing is downloaded at run time
    }
    with (run_folder / "policy.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "deploy.policy_worker", *arguments, str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            # A terminal's Ctrl-C is for the command, which then stops this child.
            start_new_session=True,
        )
