"""Each kind of fault: what bytes the host sees, and what became of the servo, in virtual time."""

import errno

import numpy as np
import pytest

from robot import registers as reg
from robot.registers import BROADCAST_ID, Register
from sim.fault_injector import FaultInjector
from sim.faults import Fault, parse_fault
from sim.free_shafts import STEP_S, FreeShafts
from sim.memory_serial import MemorySerial
from sim.protocol import HEADER, Instruction, checksum
from sim.servo import ServoBank

BYTE_S = 10e-6
TIMEOUT_S = 0.02
OVERLOAD, HOT, LOW = 0x20, 0x04, 0x01
IDS = (1, 2, 3, 4, 5, 6)


class Bench:
    """One arm on a line in memory; sleeping steps it and its faults."""

    def __init__(self) -> None:
        self.bank = ServoBank(mount_ticks=(10, 20, 30, 40, 50, 60), step_s=STEP_S)
        self.faults = FaultInjector(self.bank)
        self.shafts = FreeShafts(self.bank, 0.0)
        self._now_s = 0.0
        self.sleep_until(0.01)
        self.line = self.open()

    def open(self) -> MemorySerial:
        line = MemorySerial(self.bank, self, faults=self.faults)
        line.timeout = TIMEOUT_S
        return line

    def now_s(self) -> float:
        return self._now_s

    def sleep_until(self, deadline_s: float) -> None:
        self._now_s = max(self._now_s, deadline_s)
        self.shafts.advance(self._now_s)
        self.faults.advance(self._now_s)

    def sleep(self, duration_s: float) -> None:
        end_s = self._now_s + duration_s
        while self._now_s < end_s:
            self.sleep_until(min(self._now_s + 0.01, end_s))

    def say(self, servo_id: int, instruction: int, *parameters: int) -> bytes:
        """Send a request; return everything that comes within the time-out."""
        self.line.reset_input_buffer()
        self.line.write(frame(servo_id, instruction, *parameters))
        return self.line.read(1000)

    def read(self, servo_id: int) -> bytes:
        return self.say(servo_id, Instruction.READ, 56, 2)

    def read_all(self) -> bytes:
        return self.say(BROADCAST_ID, Instruction.SYNC_READ, 56, 2, *IDS)

    def write(self, servo_id: int, register: Register, count: int) -> bytes:
        data = count.to_bytes(register.size, "little")
        return self.say(servo_id, Instruction.WRITE, register.address, *data)

    def hold_here(self) -> None:
        """Write goal := present, which also switches torque on."""
        for servo_id in IDS:
            here = self.register(servo_id, reg.PRESENT_POSITION)
            self.write(servo_id, reg.GOAL_POSITION, here)

    def register(self, servo_id: int, register: Register) -> int:
        return self.bank.register(servo_id, register)

    def torques(self) -> list[int]:
        return [self.register(servo_id, reg.TORQUE_ENABLE) for servo_id in IDS]


def frame(servo_id: int, instruction: int, *parameters: int) -> bytes:
    body = bytes((servo_id, len(parameters) + 2, instruction, *parameters))
    return HEADER + body + bytes((checksum(body),))


def status(servo_id: int, error: int = 0) -> bytes:
    """Return what an untouched servo answers to a read of its position."""
    return frame(servo_id, error, *(2048 + 10 * servo_id).to_bytes(2, "little"))


ALL = b"".join(status(i) for i in IDS)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_without_faults_bytes_pass(bench: Bench) -> None:
    assert bench.read_all() == ALL
    assert bench.faults.faults == ()


# -- single packets -----------------------------------------------------------------------------


def test_drop_takes_one_reply_and_leaves_the_others_in_time(bench: Bench) -> None:
    bench.faults.add(Fault("drop", servo=3))

    assert bench.read_all() == ALL.replace(status(3), b"")
    bench.line.write(frame(BROADCAST_ID, Instruction.SYNC_READ, 56, 2, *IDS))
    start_s = bench.now_s()
    assert len(bench.line.read(40)) == 40
    assert bench.now_s() - start_s == pytest.approx((14 + 48) * BYTE_S + 6 * 10e-6)


def test_delay_lets_a_reply_and_those_behind_it_come_late(bench: Bench) -> None:
    bench.faults.add(Fault("delay", servo=3, delay_s=0.06, count=1))

    assert bench.read_all() == status(1) + status(2)
    # It comes into the answer of a later request: valid bytes of an old value.
    bench.sleep(0.03)
    assert bench.read(1) == status(1) + ALL[16:]
    assert bench.read(1) == status(1)


def test_stale_comes_behind_the_next_request_before_its_replies(bench: Bench) -> None:
    bench.faults.add(Fault("stale", servo=2, count=1))

    assert bench.read(2) == b""
    bench.write(5, reg.ACCELERATION, 7)  # its acknowledgement comes second
    assert bench.faults.faults == ()
    bench.faults.add(Fault("stale", servo=2, count=1))
    assert bench.read(2) == b""
    assert bench.read(3) == status(2) + status(3)


def test_stale_for_ever_is_one_reply_behind(bench: Bench) -> None:
    bench.faults.add(Fault("stale"))

    assert bench.read(1) == b""
    assert bench.read(2) == status(1)
    assert bench.read(3) == status(2)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("flip", at=5, bit=1), "ff ff 01 04 00 08 08 e8"),
        (Fault("flip", at=99, bit=7), "ff ff 01 04 00 0a 08 68"),
        (Fault("insert", at=5, value=0xAB), "ff ff 01 04 00 ab 0a 08 e8"),
        (Fault("insert", at=0, value=0xFF), "ff ff ff 01 04 00 0a 08 e8"),
        (Fault("insert", at=99, value=0x00), "ff ff 01 04 00 0a 08 e8 00"),
        (Fault("lose", at=0), "ff 01 04 00 0a 08 e8"),
        (Fault("lose", at=6), "ff ff 01 04 00 0a e8"),
        (Fault("truncate", at=5), "ff ff 01 04 00"),
        (Fault("truncate", at=0), ""),
        (Fault("length"), "ff ff 01 28 00 0a 08 e8"),
        (Fault("length", value=3), "ff ff 01 03 00 0a 08 e8"),
        (Fault("length", value=2, is_well_formed=True), "ff ff 01 02 00 fc"),
        (Fault("length", value=5, is_well_formed=True), "ff ff 01 05 00 0a 08 00 e7"),
        (Fault("error", error_bits=0x20), "ff ff 01 04 20 0a 08 c8"),
        (Fault("error"), "ff ff 01 04 20 0a 08 c8"),
    ],
    ids=str,
)
def test_bytes_of_a_spoiled_reply(bench: Bench, fault: Fault, expected: str) -> None:
    bench.faults.add(fault)

    assert bench.read(1).hex(" ") == expected


@pytest.mark.parametrize("kind", ["flip", "insert", "lose", "truncate"])
def test_what_is_not_said_is_drawn_from_the_seed(kind: str) -> None:
    def replies(seed: int) -> list[bytes]:
        bench = Bench()
        bench.faults.add(parse_fault(f"{kind} seed={seed}")[1])
        return [bench.read(1) for _ in range(20)]

    first = replies(1)
    assert first == replies(1)
    assert first != replies(2)
    assert status(1) not in first
    assert len(set(first)) > 4


def test_error_bits_stand_in_the_status_register_too(bench: Bench) -> None:
    bench.faults.add(Fault("error", servo=1, error_bits=0x02))
    block = bench.say(1, Instruction.READ, 56, 15)

    assert block[4] == block[5 + reg.STATUS.address - 56] == 0x02
    assert sum(block[2:]) & 0xFF == 0xFF
    assert bench.say(1, Instruction.PING) == frame(1, 0x02)
    assert bench.register(1, reg.STATUS) == 0  # the servo itself knows nothing of it


def test_deaf_neither_obeys_nor_answers_what_it_did_not_hear(bench: Bench) -> None:
    bench.faults.add(Fault("deaf", servo=2, request_hex="28 01"))

    assert bench.write(2, reg.TORQUE_ENABLE, 1) == b""
    assert bench.write(BROADCAST_ID, reg.TORQUE_ENABLE, 1) == b""
    assert bench.torques() == [1, 0, 1, 1, 1, 1]
    assert bench.read(2) == status(2)


def test_mute_obeys_and_never_answers(bench: Bench) -> None:
    bench.faults.add(Fault("mute", servo=2))

    assert bench.write(2, reg.TORQUE_ENABLE, 1) == b""
    assert bench.read_all() == ALL.replace(status(2), b"")
    assert bench.torques() == [0, 1, 0, 0, 0, 0]


def test_echo_returns_each_request_before_its_replies(bench: Bench) -> None:
    bench.faults.add(Fault("echo"))
    request = frame(1, Instruction.READ, 56, 2)

    assert bench.read(1) == request + status(1)
    goals = frame(BROADCAST_ID, Instruction.SYNC_WRITE, 42, 2, 1, 0, 8)
    assert bench.say(BROADCAST_ID, Instruction.SYNC_WRITE, 42, 2, 1, 0, 8) == goals


def test_two_faults_of_one_packet_both_happen(bench: Bench) -> None:
    bench.faults.add(Fault("error", error_bits=0x01))
    bench.faults.add(Fault("lose", at=7))

    assert bench.read(1) == frame(1, 0x01, 0x0A, 0x08)[:-1]


def test_counts_probabilities_and_windows(bench: Bench) -> None:
    bench.faults.add(Fault("drop", servo=1, after_packets=2, count=3))
    assert [bool(bench.read(1)) for _ in range(7)] == [True, True, False, False, False, True, True]
    assert bench.faults.faults == ()

    bench.faults.add(Fault("drop", probability=0.3, seed=4, duration_s=20.0))
    missing = sum(not bench.read(1) for _ in range(400))
    assert 80 < missing < 160
    bench.sleep(20.0)
    assert bench.read(1) == status(1)

    bench.faults.add(Fault("drop", after_s=0.5, duration_s=0.5))
    assert bench.read(1) == status(1)
    bench.sleep(0.6)
    assert bench.read(1) == b""
    bench.sleep(0.5)
    assert bench.read(1) == status(1)


def test_only_replies_to_named_requests_are_hit(bench: Bench) -> None:
    bench.faults.add(Fault("drop", request_hex="02 38 02"))

    assert bench.read(1) == b""
    assert bench.say(1, Instruction.PING) == frame(1, 0)


# -- servos -------------------------------------------------------------------------------------


def test_duplicate_ids_collide_and_both_obey(bench: Bench) -> None:
    bench.faults.add(Fault("duplicate", servo=2, other=5, duration_s=1.0))
    bench.line.reset_input_buffer()
    heard = bench.read_all()

    pulled = bytes(a & b for a, b in zip(status(2), status(5), strict=True))
    # Both say "servo 2", for that is the id they share; checksums differ accordingly.
    assert len(heard) == 40
    assert heard[8:12] == b"\xff\xff\x02\x04"
    assert heard[13:15] == pulled[5:7]
    assert sum(heard[10:16]) & 0xFF != 0xFF
    assert status(5) not in heard
    bench.write(2, reg.TORQUE_ENABLE, 1)
    assert bench.torques() == [0, 1, 0, 0, 1, 0]
    bench.sleep(1.0)
    assert bench.read_all() == ALL


def test_wrong_baud_is_silence_at_ours_and_an_answer_at_its_own(bench: Bench) -> None:
    bench.faults.add(Fault("baud", servo=4, duration_s=1.0))

    assert bench.read_all() == ALL.replace(status(4), b"")
    bench.line.baudrate = 500_000
    assert bench.read(4) == status(4)
    bench.line.baudrate = 1_000_000
    bench.sleep(1.0)
    assert bench.read_all() == ALL


def test_overload_trips_the_servos_own_protection_and_a_goal_clears_it(bench: Bench) -> None:
    bench.hold_here()
    bench.faults.add(Fault("overload", servo=6))
    bench.sleep(1.0)
    assert bench.register(6, reg.PRESENT_LOAD) == 970  # the most a servo gives
    assert bench.register(6, reg.STATUS) == 0
    bench.sleep(1.2)

    assert bench.read(6) == status(6, OVERLOAD)
    assert bench.register(6, reg.PRESENT_LOAD) == 200  # Protective_Torque
    assert bench.torques() == [1] * 6
    bench.write(6, reg.GOAL_POSITION, bench.register(6, reg.PRESENT_POSITION))
    assert bench.read(6) == status(6)
    bench.sleep(2.2)
    assert bench.read(6) == status(6, OVERLOAD)  # what jams it is still there
    bench.faults.clear()
    assert bench.read(6) == status(6, OVERLOAD)  # latched
    bench.write(6, reg.GOAL_POSITION, bench.register(6, reg.PRESENT_POSITION))
    bench.sleep(3.0)
    assert bench.read(6) == status(6)


def test_a_servo_without_torque_is_not_overloaded(bench: Bench) -> None:
    bench.faults.add(Fault("overload", servo=6))
    bench.sleep(3.0)

    assert bench.read(6) == status(6)


@pytest.mark.parametrize(("count", "after_goal"), [(1, 0), (None, OVERLOAD)])
def test_a_forced_overload_is_there_at_once(
    bench: Bench, count: int | None, after_goal: int
) -> None:
    bench.hold_here()
    bench.faults.add(Fault("overload", servo=6, is_forced=True, count=count))

    assert bench.read(6) == status(6, OVERLOAD)
    bench.write(6, reg.GOAL_POSITION, bench.register(6, reg.PRESENT_POSITION))
    bench.sleep(0.02)
    assert bench.read(6) == status(6, after_goal)


def test_overheating_ends_in_the_servos_own_cut_at_70_degrees(bench: Bench) -> None:
    bench.hold_here()
    bench.faults.add(Fault("overheat", servo=2, celsius=75.0, celsius_per_s=10.0))
    bench.sleep(4.0)
    assert 63 <= bench.register(2, reg.PRESENT_TEMPERATURE) <= 64
    assert bench.register(1, reg.PRESENT_TEMPERATURE) == 24
    assert bench.read(2) == status(2)
    bench.sleep(2.0)

    assert bench.read(2) == status(2, HOT)
    assert 74 <= bench.register(2, reg.PRESENT_TEMPERATURE) <= 75
    bench.faults.clear()
    bench.sleep(60.0)
    assert bench.read(2) == status(2, HOT)  # it cools within minutes
    bench.sleep(60.0)
    assert bench.read(2) == status(2)


def test_a_push_turns_the_joint_against_its_servo(bench: Bench) -> None:
    bench.hold_here()
    bench.faults.add(Fault("push", servo=1, torque_nm=0.5))
    bench.sleep(1.0)
    pushed_deg = np.rad2deg(bench.shafts.position_rad)

    assert 1.0 < pushed_deg[0] < 3.0  # it resists, at 15 Nm/rad (P = 32)
    assert abs(pushed_deg[1:]).max() < 0.2
    assert bench.register(1, reg.PRESENT_LOAD) & 0x3FF > 50
    bench.faults.clear()
    bench.sleep(1.0)
    assert abs(np.rad2deg(bench.shafts.position_rad[0])) < 1.0


def test_low_voltage_only_flags(bench: Bench) -> None:
    bench.hold_here()
    bench.faults.add(Fault("voltage", duration_s=1.0))

    assert bench.read(3) == status(3, LOW)
    assert bench.register(3, reg.PRESENT_VOLTAGE) == 38
    assert bench.torques() == [1] * 6
    bench.sleep(1.1)
    assert bench.read(3) == status(3)
    assert bench.register(3, reg.PRESENT_VOLTAGE) == 65


def test_after_a_brownout_a_servo_has_forgotten_what_was_not_saved(bench: Bench) -> None:
    bench.write(3, reg.P_COEFFICIENT, 16)  # the lock is closed: live, not saved
    bench.write(3, reg.TORQUE_LIMIT, 300)
    bench.hold_here()
    bench.write(3, reg.GOAL_POSITION, 2500)
    bench.sleep(0.3)
    bench.faults.add(Fault("brownout", servo=3))
    bench.faults.advance(bench.now_s())

    assert bench.read(3) == b""
    assert bench.torques() == [1, 1, 0, 1, 1, 1]
    bench.sleep(0.4)
    assert len(bench.read(3)) == 8
    assert bench.torques() == [1, 1, 0, 1, 1, 1]
    assert bench.register(3, reg.P_COEFFICIENT) == 32
    assert bench.register(3, reg.TORQUE_LIMIT) == 1000
    here = bench.register(3, reg.PRESENT_POSITION)
    assert here > 2100
    assert abs(bench.register(3, reg.GOAL_POSITION) - here) <= 1
    assert bench.register(2, reg.GOAL_POSITION) == 2068


def test_the_servos_own_clock_rides_in_the_block(bench: Bench) -> None:
    bench.bank.stamp(is_on=True)
    block = bench.say(1, Instruction.READ, 56, 15)
    asked_s = bench.now_s() - TIMEOUT_S

    assert int.from_bytes(block[5 + 11 : 5 + 13], "little") == pytest.approx(asked_s * 1000, abs=1)
    bench.bank.stamp(is_on=False)
    assert bench.say(1, Instruction.READ, 67, 2) == status(1)  # the goal, where the servo stands


def test_every_status_packet_is_told_when_it_is_made(bench: Bench) -> None:
    made: list[tuple[float, int, bytes]] = []
    bench.bank.on_status = lambda *told: made.append(told)
    bench.faults.add(Fault("drop"))
    asked_s = bench.now_s()

    assert bench.read(4) == b""
    assert made == [(asked_s, 4, status(4))]


# -- the port -----------------------------------------------------------------------------------


def test_an_unplugged_line_is_dead_for_good_and_a_new_one_can_be_opened(bench: Bench) -> None:
    bench.hold_here()
    bench.faults.add(Fault("unplug", after_s=0.1, duration_s=0.5))
    assert bench.read(1) == status(1)
    bench.sleep(0.2)

    for call in (lambda: bench.line.write(b"x"), lambda: bench.line.read(1)):
        with pytest.raises(OSError, match="unplugged") as caught:
            call()
        assert caught.value.errno == errno.EIO
    with pytest.raises(OSError, match="unplugged") as caught:
        bench.open()
    assert caught.value.errno == errno.ENODEV
    bench.sleep(0.5)
    with pytest.raises(OSError, match="unplugged"):
        _ = bench.line.in_waiting
    bench.line.close()
    bench.line = bench.open()
    assert bench.read_all() == ALL
    assert bench.torques() == [1] * 6  # the servos kept their power and their goals


def test_a_line_that_goes_while_it_is_read_raises(bench: Bench) -> None:
    bench.faults.add(Fault("unplug", after_s=0.005))
    bench.faults.advance(bench.now_s())

    with pytest.raises(OSError, match="unplugged"):
        bench.line.read(1)


def test_time_never_goes_back(bench: Bench) -> None:
    bench.faults.add(Fault("overheat", servo=1, celsius=60.0, celsius_per_s=10.0))
    for time_s in (1.0, 2.0, 1.5, 2.0, 1.0, 2.0):
        bench.faults.advance(time_s)

    assert bench.register(1, reg.PRESENT_TEMPERATURE) == 34


def test_echo_may_be_of_some_requests_alone(bench: Bench) -> None:
    bench.faults.add(Fault("echo", request_hex="02 38 02", count=1))

    assert bench.say(1, Instruction.PING) == frame(1, 0)
    assert len(bench.read(1)) == 16
    assert bench.read(1) == status(1)


def test_clear_takes_causes_away(bench: Bench) -> None:
    for text in ("drop", "echo", "mute", "baud", "voltage", "duplicate servo=1", "unplug"):
        bench.faults.add(parse_fault(text)[1])
    bench.faults.advance(bench.now_s())
    was_plugged = bench.faults.is_plugged
    bench.faults.clear()

    assert (was_plugged, bench.faults.is_plugged) == (False, True)
    assert bench.read_all() == ALL


def test_two_runs_with_random_faults_give_the_same_bytes() -> None:
    def run(seed: int) -> bytes:
        bench = Bench()
        for number, kind in enumerate(("drop", "flip", "insert", "lose", "stale", "delay", "deaf")):
            text = f"{kind} probability=0.05 seed={seed + number}"
            bench.faults.add(parse_fault(text)[1])
        heard = b""
        for _ in range(100):
            heard += bench.read_all()
            bench.sleep(0.003)
        return heard

    assert run(1) == run(1)
    assert run(1) != run(20)
