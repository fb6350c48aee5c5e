"""The policy process on the wall clock: it plans, dies with its parent, leaves nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from deploy.plans import Failed, Observation, Plan, decode_from_policy
from deploy.policy_process import PolicyProcess
from robot.errors import ConfigError, PolicyFailed

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(300)]

WAIT_S = 240.0  # the child imports torch; on an idle machine it is warm after 5 s


@pytest.fixture
def run_folder(tmp_path: Path) -> Iterator[Path]:
    """A short path: a socket's address has 108 bytes."""
    folder = Path(f"/tmp/so101-test-{os.getpid()}-{tmp_path.name[-4:]}")
    folder.mkdir()
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def is_gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"  # ended, not yet reaped by its own parent


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def wait_plan(planner: PolicyProcess, seconds: float = 60.0) -> Plan:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        plan = planner.poll(0.0)
        if plan is not None:
            return plan
        time.sleep(0.005)
    raise AssertionError("no plan came")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_plans_then_is_killed_and_leaves_nothing(
    act_checkpoint: Path, run_folder: Path, images: dict[str, bytes]
) -> None:
    zmq.Context.instance()
    files = open_files()
    observation = Observation(4, 1.25, 0.5, np.zeros(6), images)

    planner = PolicyProcess.open(act_checkpoint, run_folder=run_folder, ready_deadline_s=WAIT_S)
    ready = planner.ready
    assert ready is not None
    assert (ready.chunk_steps, planner.execute_steps, len(ready.warmup_s)) == (16, 8, 3)
    assert os.getpriority(os.PRIO_PROCESS, planner.pid) >= 10

    planner.reset(3)
    planner.request(observation, 0.0)
    assert not planner.is_idle()
    plan = wait_plan(planner)
    assert (plan.generation, plan.observation_s, plan.progress_s) == (4, 1.25, 0.5)
    assert plan.actions_deg.shape == (16, 6)
    assert plan.inference_s > 0
    assert planner.is_idle()

    started_s = time.monotonic()
    assert planner.poll(0.0) is None
    assert time.monotonic() - started_s < 0.05  # asking does not block

    os.kill(planner.pid, signal.SIGKILL)
    with pytest.raises(PolicyFailed, match="signal 9"):
        wait_plan(planner, 5.0)
    planner.close()
    planner.close()

    assert is_gone(planner.pid)
    assert [path.name for path in run_folder.iterdir()] == ["policy.log"]
    assert wait_for(lambda: open_files() <= files, 2.0)


def test_stops_by_itself_when_asked(paper_checkpoint: Path, run_folder: Path) -> None:
    with PolicyProcess.start(paper_checkpoint, run_folder=run_folder) as planner:
        pid = planner.pid
        started_s = time.monotonic()

    assert is_gone(pid)
    assert time.monotonic() - started_s < 5.0
    assert not (run_folder / "policy").exists()


def test_an_unknown_checkpoint_is_refused_before_a_process_is_started(
    run_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no checkpoint"):
        PolicyProcess.start(tmp_path / "nowhere", run_folder=run_folder)

    assert list(run_folder.iterdir()) == []


def test_a_run_folder_that_is_not_there_is_named(paper_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot start the policy process"):
        PolicyProcess.start(paper_checkpoint, run_folder=tmp_path / "missing")


def test_what_the_child_refuses_reaches_the_person(
    paper_checkpoint: Path, run_folder: Path
) -> None:
    with PolicyProcess.start(paper_checkpoint, run_folder=run_folder) as planner:
        (paper_checkpoint / "so101.json").write_text("{")  # before the child has read it

        with pytest.raises(ConfigError, match=r"so101\.json is damaged"):
            planner.wait_ready(deadline_s=60.0)


def test_the_child_reports_a_bad_checkpoint_as_a_sentence(run_folder: Path) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PAIR)
    address = f"ipc://{run_folder}/policy"
    socket.bind(address)
    worker = [sys.executable, "-m", "deploy.policy_worker"]
    arguments = ["/nowhere", "", "", address, str(os.getpid())]

    child = subprocess.Popen([*worker, *arguments], cwd=Path(__file__).parents[2])
    assert socket.poll(60_000)
    message = decode_from_policy(socket.recv())

    assert isinstance(message, Failed)
    assert message.is_config_error
    assert "no checkpoint at /nowhere" in message.sentence
    assert child.wait(10) == 2
    socket.close(0)
    context.term()


def test_the_child_dies_with_its_parent(paper_checkpoint: Path, run_folder: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from deploy.policy_process import "
        "PolicyProcess;"
        "planner = PolicyProcess.start(Path(sys.argv[1]), run_folder=Path(sys.argv[2]));"
        "print(planner.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(paper_checkpoint), str(run_folder)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not is_gone(child)

    parent.kill()
    parent.wait()
    parent.stdout.close()

    assert wait_for(lambda: is_gone(child), 10.0)
