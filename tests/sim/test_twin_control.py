"""The control socket: the same answers as direct control, and sentences for what goes wrong."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from robot.errors import ConfigError, NotConnected
from robot.rig import ArmProfile, RigProfile, TwinProfile
from sim.faults import Fault
from sim.twin_control import DirectControl, RemoteControl, answer, connect_control
from sim.twin_core import Twin

PROFILE = RigProfile(
    1, "test", ArmProfile("twin:leader", "l"), ArmProfile("twin:follower", "f"), twin=TwinProfile()
)


@pytest.fixture(scope="module")
def twin() -> Twin:
    return Twin(PROFILE)


@pytest.fixture
def remote(twin: Twin, tmp_path: Path) -> Iterator[RemoteControl]:
    """Serve the twin's control from a thread, as its process would."""
    address = f"ipc://{tmp_path}/c"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.REP)
    socket.bind(address)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            if socket.poll(50):
                socket.send(answer(DirectControl(twin), socket.recv()))

    thread = threading.Thread(target=serve)
    thread.start()
    control = connect_control(address)
    yield control
    control.close()
    control.close()
    stop.set()
    thread.join()
    socket.close(linger=0)
    context.term()


def test_remote_control_does_what_direct_control_does(twin: Twin, remote: RemoteControl) -> None:
    start = remote.reset(11)
    remote.set_hand("leader", "sweep", 3)
    remote.set_hand("follower", "none")
    status = remote.status()

    assert status == DirectControl(twin).status()
    assert start == DirectControl(twin).reset(11)
    remote.place(start)
    assert twin.follower.block_position_m("red")[:2] == pytest.approx(
        (start.red.x_m, start.red.y_m)
    )


def test_faults_come_and_go_over_the_socket(twin: Twin, remote: RemoteControl) -> None:
    fault = Fault("overload", servo=6, after_s=3.0)
    remote.inject(fault)
    remote.inject(Fault("mute"), "leader")
    assert twin.faults["follower"].faults == (fault,)
    assert remote.status().faults == {
        "leader": ["mute"],
        "follower": ["overload servo=6 after_s=3.0"],
    }
    remote.clear_faults()

    assert remote.status().faults == {"leader": [], "follower": []}


def test_a_fault_that_means_nothing_is_refused(twin: Twin) -> None:
    request = b'{"type": "inject", "fault": {"kind": "drop", "servo": 9}}'

    assert (
        "servo is 9; it must be 1 to 6" in json.loads(answer(DirectControl(twin), request))["error"]
    )


def test_a_refused_request_is_an_error_and_the_next_one_works(remote: RemoteControl) -> None:
    with pytest.raises(ConfigError, match="there is no hand 'demonstrator' for the follower"):
        remote.set_hand("follower", "demonstrator")

    assert remote.status().hand_done


@pytest.mark.parametrize(
    "message", [b"", b"{}", b"not json", b'{"type": "explode"}', b'{"type": "reset", "seed": "x"}']
)
def test_garbage_is_answered_with_a_sentence(twin: Twin, message: bytes) -> None:
    reply = json.loads(answer(DirectControl(twin), message))

    assert reply["error"].startswith("the twin does not understand the request")


def test_requests_are_plain_json(twin: Twin) -> None:
    reply = msgspec.json.decode(answer(DirectControl(twin), b'{"type": "status"}'))

    assert set(reply["status"]) >= {"time_s", "hand_done", "success", "red_height_m"}


@pytest.mark.realtime
def test_a_twin_that_is_gone_is_named_within_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim.twin_control.REPLY_TIMEOUT_S", 0.1)
    control = connect_control(f"ipc://{tmp_path}/nobody")
    for _ in range(2):  # the second question finds a fresh socket
        with pytest.raises(
            NotConnected, match=r"the twin does not answer .*check that `so101 twin` still runs"
        ):
            control.status()
    control.close()
