"""The child of `policy_process`: loads a checkpoint, answers observations with plans.

Started as `python -m deploy.policy_worker CHECKPOINT DATASET_ROOT TASK ADDRESS PARENT_PID`; not for
people.
"""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from deploy.checkpoint import read_checkpoint
from deploy.plans import (
    Failed,
    Heartbeat,
    Observation,
    Plan,
    Ready,
    Reset,
    Stop,
    decode_to_policy,
    encode,
)
from robot.errors import ConfigError, So101Error
from robot.parent_death import die_with_parent

if TYPE_CHECKING:
    from deploy.policy_runner import PolicyRunner

WARM_UP_INFERENCES = 3  # the first takes up to ten times as long as the rest
HEARTBEAT_MS = 200
NICENESS = 10


def main(arguments: list[str]) -> int:
    """Load, warm up, serve."""
    checkpoint, dataset_root, task, address, parent_pid = arguments
    die_with_parent(int(parent_pid))
    os.nice(NICENESS)
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
    socket.setsockopt(zmq.LINGER, 1000)
    socket.connect(address)
    try:
        serve(
            socket,
            Path(checkpoint),
            Path(dataset_root) if dataset_root else None,
            task,
            int(parent_pid),
        )
    except So101Error as error:
        socket.send(encode(Failed(str(error), isinstance(error, ConfigError))))
        return 2
    finally:
        socket.close()
        zmq.Context.instance().term()
    return 0


def serve(
    socket: "zmq.Socket[bytes]",
    checkpoint: Path,
    dataset_root: Path | None,
    task: str,
    parent_pid: int,
) -> None:
    """Answer until Stop comes or the parent is gone."""
    found = read_checkpoint(checkpoint, dataset_root=dataset_root)
    # Imported here, so that a parent that is gone, or a bad argument, costs no ten seconds of
    # torch.
    from deploy.policy_runner import PolicyRunner

    runner = PolicyRunner.load(found, task=task)
    socket.send(encode(_warm_up(runner)))
    while os.getppid() == parent_pid:
        if not socket.poll(HEARTBEAT_MS):
            with contextlib.suppress(
                zmq.Again
            ):  # a parent that does not listen just now needs no beat
                socket.send(encode(Heartbeat()), zmq.NOBLOCK)
            continue
        message = decode_to_policy(socket.recv())
        if isinstance(message, Stop):
            return
        if isinstance(message, Reset):
            runner.reset(message.seed)
            continue
        socket.send(encode(_plan(runner, message)))


def _warm_up(runner: "PolicyRunner") -> Ready:
    runner.reset(0)
    durations_s: list[float] = []
    chunk_steps = 0
    for _ in range(WARM_UP_INFERENCES):
        started_s = time.monotonic()
        chunk_steps = len(runner.predict(runner.warm_up_observation()))
        durations_s.append(time.monotonic() - started_s)
    runner.reset(0)
    return Ready(chunk_steps, runner.execute_steps, runner.step_s, durations_s)


def _plan(runner: "PolicyRunner", observation: Observation) -> Plan:
    started_s = time.monotonic()
    actions_deg = runner.predict(observation)
    return Plan(
        generation=observation.generation,
        observation_s=observation.observation_s,
        progress_s=observation.progress_s,
        step_s=runner.step_s,
        actions_deg=actions_deg,
        inference_s=time.monotonic() - started_s,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
