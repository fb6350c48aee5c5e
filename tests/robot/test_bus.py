from collections.abc import Callable

import pytest
import scservo_sdk
from arm_bench import ArmBench

from robot.bus_faults import ASK_AGAIN_S, OWED_S, SHARED_COUNT
from robot.errors import NotConnected, PortBusy, ServoTimeout
from robot.joints import SERVO_IDS
from robot.packets import BLOCK_PATIENCE_S, SIZES, BlockRead, block_margin_s, frame
from robot.registers import (
    GOAL_POSITION,
    HOMING_OFFSET,
    MODEL_NUMBER_STS3215,
    P_COEFFICIENT,
    PRESENT_POSITION,
    STATE_BLOCK,
    TORQUE_ENABLE,
)
from sim.faults import Fault, FaultKind
from sim.servo import Reply

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


# Late and unasked bytes ---------------------------------------------------------------------------


def test_a_reply_that_arrives_with_the_next_request_is_never_taken_for_its_answer(
    bench: ArmBench,
) -> None:
    """Each reply is kept back once and arrives right before the replies to the next request."""
    bench.bus.read_block(POSITIONS)
    goals = BlockRead(GOAL_POSITION, SERVO_IDS)
    bench.line.faults.add(Fault("stale", servo=2, probability=0.5, seed=3))
    for tick in range(60):
        bench.clock.sleep_until(bench.clock.now_s() + 0.01)
        bench.bus.write_goals([1000 + tick] * 6)
        reply = bench.bus.read_block(goals)

        assert {int.from_bytes(v, "little") for v in reply.data.values()} == {1000 + tick}
        assert set(reply.data) >= {1, 3, 4, 5, 6}


@pytest.mark.parametrize(
    "late_s", [0.004, 0.012, 0.03, 0.06, 0.09, 0.15, 0.201, 0.2397, 0.32, 0.3997, 0.48, 0.5597, 0.6]
)
@pytest.mark.parametrize("rate_hz", [50, 100, 200])
def test_however_late_a_reply_is_no_tick_ever_gets_the_value_of_another(
    bench: ArmBench, late_s: float, rate_hz: int
) -> None:
    bench.bus.read_block(POSITIONS)
    goals = BlockRead(GOAL_POSITION, SERVO_IDS)
    heard = 0
    for tick in range(100):
        bench.clock.sleep_until(1.0 + tick / rate_hz)
        bench.bus.write_goals([1000 + tick] * 6)
        bench.line.late_s = late_s if tick % 7 == 3 else 0.0
        values = {int.from_bytes(v, "little") for v in bench.bus.read_block(goals).data.values()}

        assert values <= {1000 + tick}
        heard += bool(values)
    assert heard > 30
    assert bench.bus.counters.unasked_bytes == 0


@pytest.mark.parametrize("rate_hz", [50, 100, 200])
@pytest.mark.parametrize("late_ticks", [(5, 26), (5, 200)])
def test_a_line_that_stays_late_never_gives_a_tick_the_value_of_another(
    bench: ArmBench, rate_hz: int, late_ticks: tuple[int, int]
) -> None:
    """Whole cycles of the lengths late: each old reply comes when its length is asked for again."""
    bench.bus.read_block(POSITIONS)
    goals = BlockRead(GOAL_POSITION, SERVO_IDS)
    start_s = 1.0
    for late_s in (*(n * SIZES / rate_hz for n in (1, 2, 3) if n * SIZES / rate_hz < 0.6), 0.6):
        for tick in range(200):
            bench.clock.sleep_until(start_s + tick / rate_hz)
            bench.bus.write_goals([1000 + tick] * 6)
            bench.line.late_s = late_s if tick in range(*late_ticks) else 0.0
            bench.bus.request(goals)
            data = bench.bus.collect(goals).data
            assert {int.from_bytes(v, "little") for v in data.values()} <= {1000 + tick}
        start_s = bench.clock.now_s() + 2.0


@pytest.mark.parametrize("rate_hz", [50, 100, 200])
def test_one_late_batch_up_to_the_longest_silence_is_never_taken_for_a_later_one(
    rate_hz: int,
) -> None:
    """It arrives within the wait of a later tick, which asks for the shortest length again."""
    goals = BlockRead(GOAL_POSITION, SERVO_IDS)
    for late_ticks in range(1, int(0.6 * rate_hz), 3):
        bench = ArmBench()
        bench.bus.read_block(POSITIONS)
        for tick in range(5 + late_ticks):
            bench.clock.sleep_until(1.0 + tick / rate_hz)
            bench.bus.write_goals([1000 + tick] * 6)
            bench.line.late_s = late_ticks / rate_hz - 0.0003 if tick == 3 else 0.0
            data = bench.bus.read_block(goals).data
            assert {int.from_bytes(v, "little") for v in data.values()} <= {1000 + tick}


def test_single_reads_after_a_late_one_get_their_own_register(bench: ArmBench) -> None:
    bench.bus.write(1, GOAL_POSITION, 1234)
    bench.line.faults.add(Fault("stale", servo=1, probability=0.4, seed=1))

    for _ in range(40):
        assert bench.bus.read(1, P_COEFFICIENT, tries=9) == 32
        assert bench.bus.read(1, GOAL_POSITION, tries=9) == 1234
        assert bench.bus.read(1, TORQUE_ENABLE, tries=9) == 1


def test_a_read_that_was_interrupted_leaves_nothing_behind(bench: ArmBench) -> None:
    bench.bus.write(1, GOAL_POSITION, 1234)

    def interrupt(_: bytes) -> bytes:
        raise KeyboardInterrupt

    asks: list[Callable[[], object]] = [
        lambda: bench.bus.read(1, GOAL_POSITION),
        lambda: bench.bus.read_block(BlockRead(GOAL_POSITION, SERVO_IDS)),
    ]
    for ask in asks:
        bench.line.mangle = interrupt
        with pytest.raises(KeyboardInterrupt):
            ask()
        bench.line.mangle = bytes

        assert not bench.bus.port.is_using
        assert bench.bus.read(1, HOMING_OFFSET) == 0  # as long as the reply that was not read
        assert set(bench.bus.read_block(POSITIONS).data) == set(SERVO_IDS)


def test_torque_off_waits_until_replies_have_left_the_wire(bench: ArmBench) -> None:
    bench.bus.read_block(POSITIONS)
    bench.bus.request(POSITIONS)
    asked_s = bench.clock.now_s()

    bench.bus.broadcast_torque_off()

    assert bench.clock.now_s() - asked_s >= 62 * 10e-6


def test_bytes_nobody_asked_for_are_flushed_and_counted(bench: ArmBench) -> None:
    bench.bus.read_block(POSITIONS)
    bench.line.inject(b"noise")

    reply = bench.bus.read_block(POSITIONS)

    assert set(reply.data) == set(SERVO_IDS)
    assert bench.bus.counters.unasked_bytes == 5
    assert bench.bus.counters.resyncs == 0


def test_packets_of_a_stranger_are_an_error_once_they_are_many(bench: ArmBench) -> None:
    bench.bus.read_block(POSITIONS)
    for _ in range(SHARED_COUNT):
        bench.bus.refuse_strangers()
        bench.line.inject(frame(3, 0, b"\x12\x34\x56"))
        assert set(bench.bus.read_block(POSITIONS).data) == set(SERVO_IDS)

    with pytest.raises(PortBusy, match=r"nobody here asked for keep coming from bench.*stop it"):
        bench.bus.refuse_strangers()
    bench.bus.refuse_strangers()  # told once


def test_a_few_packets_of_a_stranger_now_and_then_are_no_error(bench: ArmBench) -> None:
    bench.bus.read_block(POSITIONS)
    for _ in range(5 * SHARED_COUNT):
        bench.clock.sleep_until(bench.clock.now_s() + 0.2)
        bench.line.inject(frame(3, 0, b"\x12\x34\x56"))
        bench.bus.read_block(POSITIONS)

        bench.bus.refuse_strangers()


# What is counted and kept -------------------------------------------------------------------------


def test_faults_are_counted_per_servo_and_kind(bench: ArmBench) -> None:
    bench.bus.read_block(POSITIONS)
    bench.line.faults.add(Fault("flip", servo=2, at=6, count=3))
    bench.line.faults.add(Fault("drop", servo=5, count=2))
    for _ in range(5):
        bench.bus.read_block(POSITIONS)

    assert bench.bus.counters.corrupt == {2: 3}
    assert bench.bus.counters.timeouts == {5: 2}
    assert bench.bus.counters.resyncs == 3


def test_the_error_byte_of_every_reply_is_kept(bench: ArmBench) -> None:
    bench.bus.read_block(POSITIONS)
    bench.line.faults.add(Fault("error", servo=4, error_bits=0x24))

    reply = bench.bus.read_block(POSITIONS)
    assert reply.status == {1: 0, 2: 0, 3: 0, 4: 0x24, 5: 0, 6: 0}
    assert bench.bus.read(4, P_COEFFICIENT) == 32
    assert bench.bus.status[4] == 0x24


@pytest.mark.parametrize("kind", ["flip", "insert", "lose", "truncate", "drop", "length"])
def test_whatever_hits_one_reply_the_other_servos_are_heard_on_every_tick(
    bench: ArmBench, kind: FaultKind
) -> None:
    bench.bus.read_block(POSITIONS)
    state = BlockRead(STATE_BLOCK, SERVO_IDS)
    bench.line.faults.add(Fault(kind, servo=3, seed=7))
    missed = 0
    for _ in range(100):
        bench.clock.sleep_until(bench.clock.now_s() + 0.005)
        reply = bench.bus.read_block(state)
        missed += len({1, 2, 4, 5, 6} - set(reply.data))
        for data in reply.data.values():
            assert int.from_bytes(data[:2], "little") == 2048

    assert missed <= 20  # a piece of it may look as if put into the reply before it


def test_a_mute_servo_costs_little_time_unless_it_is_the_last(bench: ArmBench) -> None:
    bench.bus.read_block(POSITIONS)
    block = BlockRead(PRESENT_POSITION, SERVO_IDS, return_delays_s=0.0)
    took_s: list[float] = []
    for mute in (3, 6):
        bench.bank.unplugged = {mute}
        began_s = bench.clock.now_s()
        bench.bus.read_block(block)
        took_s.append(bench.clock.now_s() - began_s)

    assert took_s[0] < 0.003
    assert took_s[1] < 0.007


@pytest.mark.parametrize("busy_bytes", [0, 100])
def test_a_sample_is_never_younger_than_what_the_servos_did(
    bench: ArmBench, busy_bytes: int
) -> None:
    """The servos of the bench take their values when the request is handed to the line."""
    bench.bus.read_block(POSITIONS)
    taken_s: list[float] = []
    handle = bench.line.faults.handle

    def note(packet: bytes, now_s: float, baud_hz: int = 1_000_000) -> list[Reply]:
        taken_s.append(now_s)
        replies: list[Reply] = handle(packet, now_s, baud_hz)
        return replies

    bench.line.faults.handle = note
    for _ in range(20):
        bench.bus.port.send(bytes(busy_bytes))
        reply = bench.bus.read_block(POSITIONS)
        bench.clock.sleep_until(bench.clock.now_s() + 0.0047)

        assert taken_s[-1] - 1e-9 <= reply.time_s <= taken_s[-1]


# A mute servo -------------------------------------------------------------------------------------


def loop_times(bench: ArmBench, block: BlockRead, rate_hz: int, ticks: int = 200) -> list[float]:
    """Read on every tick as the loop does; return how long each read took, seconds."""
    took_s: list[float] = []
    start_s = bench.clock.now_s()
    for tick in range(ticks):
        bench.clock.sleep_until(start_s + tick / rate_hz)
        began_s = bench.clock.now_s()
        bench.bus.request(block)
        bench.bus.collect(block)
        took_s.append(bench.clock.now_s() - began_s)
    return took_s


@pytest.mark.parametrize("mute", [{6}, {1}, {3, 6}, set(SERVO_IDS)])
@pytest.mark.parametrize("rate_hz", [100, 200])
def test_a_tick_stays_within_its_period_whoever_is_mute(
    bench: ArmBench, rate_hz: int, mute: set[int]
) -> None:
    block = BlockRead(STATE_BLOCK, SERVO_IDS, return_delays_s=0.0)
    loop_times(bench, block, rate_hz, 10)
    bench.bank.unplugged = mute

    took_s = loop_times(bench, block, rate_hz)

    assert max(took_s) < 1 / rate_hz
    # It is asked now and then: the ticks in between do not wait for it.
    assert sorted(took_s)[len(took_s) * 4 // 5] < 0.0025


def test_the_longest_wait_of_a_tick_is_within_its_period() -> None:
    block = BlockRead(STATE_BLOCK, SERVO_IDS, return_delays_s=0.0)
    longest_s = max(sized.longest_s for sized in block.sized)

    assert longest_s + block_margin_s(1 / 200) < 1 / 200
    assert longest_s + block_margin_s(1 / 100) < 0.8 / 100
    assert block_margin_s(0.0) >= BLOCK_PATIENCE_S


@pytest.mark.parametrize("rate_hz", [50, 100, 200])
def test_a_servo_that_was_mute_for_long_is_believed_as_soon_as_it_is_asked_again(
    bench: ArmBench, rate_hz: int
) -> None:
    block = BlockRead(STATE_BLOCK, SERVO_IDS, return_delays_s=0.0)
    for mute in ((3,), SERVO_IDS):
        bench.bank.unplugged = set(mute)
        loop_times(bench, block, rate_hz, 2 * rate_hz)
        bench.bank.unplugged = set()
        back_s = bench.clock.now_s()
        while bench.bus.read_block(block).data.keys() != set(SERVO_IDS):
            loop_times(bench, block, rate_hz, 1)

        assert bench.clock.now_s() - back_s < ASK_AGAIN_S + 1.5 / rate_hz


# Adapters that echo -------------------------------------------------------------------------------


def echoing() -> ArmBench:
    bench = ArmBench()
    bench.line.faults.add(Fault("echo"))
    return bench


def test_an_echo_is_found_by_the_first_transaction_and_stripped_from_all() -> None:
    bench = echoing()
    bus = bench.bus

    assert bus.read(2, P_COEFFICIENT) == 32
    assert bus.port.is_echoing
    bus.write_verified(2, GOAL_POSITION, 1500)
    for tick in range(20):
        bus.write_goals([1000 + tick] * 6)
        reply = bus.read_block(BlockRead(GOAL_POSITION, SERVO_IDS))
        assert {int.from_bytes(v, "little") for v in reply.data.values()} == {1000 + tick}
        bench.clock.sleep_until(bench.clock.now_s() + 0.005)
    bus.broadcast_torque_off()
    assert [bus.read(i, TORQUE_ENABLE) for i in SERVO_IDS] == [0] * 6
    assert (bus.counters.resyncs, bus.counters.unasked_bytes, bus.counters.late_bytes) == (0, 0, 0)


def test_an_echo_without_an_arm_is_no_servo() -> None:
    bench = echoing()
    bench.bank.unplugged = set(SERVO_IDS)

    assert [bench.bus.ping(i) for i in SERVO_IDS] == [None] * 6
    with pytest.raises(ServoTimeout):
        bench.bus.write(1, GOAL_POSITION, 100, tries=1)


def test_an_adapter_without_an_echo_is_not_taken_for_one(bench: ArmBench) -> None:
    bench.bus.read(1, P_COEFFICIENT)

    assert not bench.bus.port.is_echoing


@pytest.mark.parametrize("servo_id", SERVO_IDS)
def test_an_echo_that_comes_and_goes_gives_no_wrong_value(servo_id: int) -> None:
    bench = ArmBench()
    bus = bench.bus
    bus.write(servo_id, GOAL_POSITION, 1777)
    bench.line.faults.add(Fault("echo", probability=0.5, seed=servo_id))
    block = BlockRead(GOAL_POSITION, [servo_id])
    for tick in range(50):
        assert bus.read(servo_id, P_COEFFICIENT, tries=9) == 32
        assert bus.read(servo_id, GOAL_POSITION, tries=9) == 1777
        assert set(bus.read_block(block).data.values()) <= {(1777).to_bytes(2, "little")}, tick


def test_lost_bytes_of_an_echo_cost_no_more_than_that_transaction() -> None:
    bench = echoing()
    bench.bus.read(1, P_COEFFICIENT)
    bench.line.mangle = lambda data: data[1:]
    bench.bus.read_block(POSITIONS)
    bench.line.mangle = bytes

    bench.bus.read_block(POSITIONS)
    assert set(bench.bus.read_block(POSITIONS).data) == set(SERVO_IDS)
    assert bench.bus.port.is_echoing


def test_the_echo_of_a_read_is_never_taken_for_a_register_of_another_length() -> None:
    """A servo that owes one byte is asked for more, but not for the two that an echo looks like."""
    bench = echoing()
    bench.bus.read(1, TORQUE_ENABLE)
    bench.line.faults.add(Fault("drop", servo=1, count=2))
    bench.bus.port.is_echoing = False  # the adapter's last echo was disturbed

    assert bench.bus.read(1, TORQUE_ENABLE) == 0
    assert bench.bus.status[1] == 0


def test_after_a_bad_echo_the_adapter_is_asked_again() -> None:
    bench = echoing()
    bench.bus.read(1, TORQUE_ENABLE)
    bench.line.mangle = lambda data: b"\0" + data[1:]
    with pytest.raises(ServoTimeout):
        bench.bus.read(1, TORQUE_ENABLE, tries=1)
    assert not bench.bus.port.is_echoing
    bench.line.mangle = bytes

    for _ in range(4):
        assert bench.bus.read(1, TORQUE_ENABLE, tries=1) == 0
        assert bench.bus.port.is_echoing
    assert bench.bus.status[1] == 0
