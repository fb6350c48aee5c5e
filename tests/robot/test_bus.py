import pytest
import scservo_sdk
from arm_bench import ArmBench

from robot.bus_faults import OWED_S
from robot.errors import NotConnected, ServoTimeout
from robot.joints import SERVO_IDS
from robot.packets import SIZES, BlockRead
from robot.registers import (
    GOAL_POSITION,
    HOMING_OFFSET,
    MODEL_NUMBER_STS3215,
    P_COEFFICIENT,
    PRESENT_POSITION,
    TORQUE_ENABLE,
)

POSITIONS = BlockRead(PRESENT_POSITION, SERVO_IDS)


def test_the_sync_read_request_is_the_one_captured_from_lerobot() -> None:
    assert POSITIONS.request.hex(" ") == "ff ff fe 0a 82 38 02 01 02 03 04 05 06 26"


def test_the_broadcast_torque_off_is_the_documented_frame(bench: ArmBench) -> None:
    before = len(bench.line.sent)

    bench.bus.broadcast_torque_off()

    assert bytes(bench.line.sent[before:]) == bytes.fromhex("fffffe04032800d2") * 2


def test_goals_are_the_packet_that_the_sdk_builds(bench: ArmBench) -> None:
    goals = [0, 1, 2047, 2048, 4095, 300]
    before = len(bench.line.sent)
    bench.bus.write_goals(goals)
    ours = bytes(bench.line.sent[before:])
    before = len(bench.line.sent)
    group = scservo_sdk.GroupSyncWrite(bench.bus.port, scservo_sdk.PacketHandler(0), 42, 2)
    for servo_id, goal in zip(SERVO_IDS, goals, strict=True):
        group.addParam(servo_id, [goal & 0xFF, goal >> 8])

    group.txPacket()

    assert ours == bytes(bench.line.sent[before:])
    assert [bench.bus.read(i, GOAL_POSITION) for i in SERVO_IDS] == goals


def test_an_absent_servo_is_left_out_and_the_next_read_is_clean(bench: ArmBench) -> None:
    bench.bank.unplugged = {3}
    partial = bench.bus.read_block(POSITIONS)
    bench.bank.unplugged = set()

    whole = bench.bus.read_block(POSITIONS)

    assert sorted(partial.data) == [1, 2, 4, 5, 6]
    assert bench.bus.counters.timeouts[3] == 1
    assert sorted(whole.data) == list(SERVO_IDS)


def test_a_late_reply_is_never_taken_for_a_new_one(bench: ArmBench) -> None:
    bench.bus.write(1, GOAL_POSITION, 1234)
    bench.bus.port.margin_s = -0.0007  # the deadline passes before the reply has arrived
    with pytest.raises(ServoTimeout):
        bench.bus.read(1, GOAL_POSITION, tries=1)
    bench.bus.port.margin_s = 0.05
    bench.clock.sleep_until(bench.clock.now_s() + 0.01)

    assert bench.bus.read(1, P_COEFFICIENT) == 32


def test_one_late_batch_never_makes_the_next_ones_old(bench: ArmBench) -> None:
    """A loop at 50 Hz: each read block must be of its own tick, told by a register that counts."""
    goals = BlockRead(GOAL_POSITION, SERVO_IDS)
    answers: list[tuple[int, set[int]]] = []
    for tick in range(8):
        bench.clock.sleep_until(0.1 + 0.02 * tick)
        bench.bus.write_goals([1000 + tick] * 6)
        bench.line.late_s = 0.025 if tick == 1 else 0.0
        bench.bus.request(goals)
        reply = bench.bus.collect(goals)
        answers.append((1000 + tick, {int.from_bytes(v, "little") for v in reply.data.values()}))

    assert all(values <= {expected} for expected, values in answers)
    assert [bool(values) for _, values in answers] == [True, False] + [True] * 6


def test_a_missing_reply_costs_the_others_no_sample(bench: ArmBench) -> None:
    """And the next request asks for another length, which the missing reply cannot have."""
    bench.bank.unplugged = {3}
    for _ in range(3):
        reply = bench.bus.read_block(POSITIONS)
        bench.clock.sleep_until(bench.clock.now_s() + 0.01)

        assert sorted(reply.data) == [1, 2, 4, 5, 6]
    assert bytes(bench.line.sent).count(bytes((0x82, 56, 2, 1))) == 1
    assert bytes(bench.line.sent).count(bytes((0x82, 56, 3, 1))) == 1
    assert bytes(bench.line.sent).count(bytes((0x82, 56, 4, 1))) == 1


def test_a_servo_that_owes_every_length_is_not_believed_until_a_debt_has_run_out(
    bench: ArmBench,
) -> None:
    bench.bank.unplugged = {3}
    for _ in range(SIZES):
        bench.bus.read_block(POSITIONS)
    bench.bank.unplugged = set()

    assert sorted(bench.bus.read_block(POSITIONS).data) == [1, 2, 4, 5, 6]
    bench.clock.sleep_until(bench.clock.now_s() + OWED_S)
    assert sorted(bench.bus.read_block(POSITIONS).data) == list(SERVO_IDS)


def test_a_single_read_waits_for_the_late_replies_to_a_block(bench: ArmBench) -> None:
    bench.bus.write(1, GOAL_POSITION, 1234)
    bench.line.late_s = 0.025
    bench.bus.read_block(POSITIONS)
    bench.line.late_s = 0.0

    assert bench.bus.read(1, GOAL_POSITION) == 1234


def test_reads_and_writes_single_registers_with_their_sign(bench: ArmBench) -> None:
    bench.bus.write(2, HOMING_OFFSET, -812)

    assert bench.bus.read(2, HOMING_OFFSET) == -812
    assert bench.bus.ping(2) == MODEL_NUMBER_STS3215
    assert bench.bus.ping(9) is None


def test_a_silent_servo_is_named_with_what_to_check(bench: ArmBench) -> None:
    bench.bank.unplugged = {4}

    with pytest.raises(
        ServoTimeout, match=r"wrist_flex \(servo 4\).*check the arm's power and the plug"
    ):
        bench.bus.read(4, TORQUE_ENABLE)


def test_an_unplugged_adapter_is_one_error_and_leaves_no_port_in_use(bench: ArmBench) -> None:
    bench.line.is_gone = True

    with pytest.raises(NotConnected, match="cut the power"):
        bench.bus.read(1, TORQUE_ENABLE)

    bench.line.is_gone = False
    assert bench.bus.read(1, TORQUE_ENABLE) == 0


def test_a_write_that_does_not_take_is_found_by_reading_back(bench: ArmBench) -> None:
    with pytest.raises(ServoTimeout, match="did not keep 500"):
        bench.bus.write_verified(1, PRESENT_POSITION, 500)
