"""What each register of an emulated servo does, asked over the wire."""

import numpy as np
import pytest

from robot import registers as reg
from robot.errors import ConfigError
from robot.packets import frame
from robot.registers import BROADCAST_ID, Register, decode_sign_magnitude, encode_sign_magnitude
from sim.protocol import Instruction
from sim.servo import TURNAROUND_S, ServoBank
from sim.servo_registers import EEPROM_DEFAULTS
from sim.single_servo import FLASH_COMMIT_S

ZERO = np.zeros(6)
MOUNT = (10, -20, 30, -40, 500, -500)


class Wire:
    """One arm whose joints are held by the test."""

    def __init__(self, **options: object) -> None:
        self.bank = ServoBank(mount_ticks=MOUNT, **options)  # type: ignore[arg-type]
        self.rad = np.zeros(6)
        self.now_s = 0.0
        self.run(0.001)

    def run(self, duration_s: float, speed_rad_s: float = 0.0) -> None:
        for _ in range(round(duration_s * 1000)):
            self.torque_nm = self.bank.step(self.rad, np.full(6, speed_rad_s)).copy()

    def say(
        self, servo_id: int, instruction: int, *parameters: int, baud: int = 1_000_000
    ) -> list[bytes]:
        self.now_s += 1.0
        packet = frame(servo_id, instruction, bytes(parameters))
        return [reply.data for reply in self.bank.handle(packet, self.now_s, baud)]

    def read(self, servo_id: int, register: Register) -> int:
        (reply,) = self.say(servo_id, Instruction.READ, register.address, register.size)
        assert reply[:4] == bytes((255, 255, servo_id, register.size + 2))
        count = int.from_bytes(reply[5:-1], "little")
        return (
            count if register.sign_bit is None else decode_sign_magnitude(count, register.sign_bit)
        )

    def write(self, servo_id: int, register: Register, count: int) -> list[bytes]:
        if register.sign_bit is not None:
            count = encode_sign_magnitude(count, register.sign_bit)
        data = count.to_bytes(register.size, "little")
        return self.say(servo_id, Instruction.WRITE, register.address, *data)


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_a_kit_servo_has_the_factory_values(wire: Wire) -> None:
    for servo_id in range(1, 7):
        for register, count in EEPROM_DEFAULTS.items():
            assert wire.read(servo_id, register) == (servo_id if register == reg.ID else count)
    assert wire.read(3, reg.MODEL_NUMBER) == 777
    assert (wire.read(1, reg.FIRMWARE_MAJOR_VERSION), wire.read(1, reg.FIRMWARE_MINOR_VERSION)) == (
        3,
        10,
    )
    assert wire.read(1, reg.TORQUE_ENABLE) == 0
    assert wire.read(1, reg.LOCK) == 1
    assert wire.read(1, reg.TORQUE_LIMIT) == 1000


def test_ping_answers_with_the_status_byte(wire: Wire) -> None:
    assert wire.say(1, Instruction.PING) == [bytes.fromhex("ff ff 01 02 00 fc")]
    wire.bank.supply_v = 8.5
    assert wire.say(1, Instruction.PING) == [bytes.fromhex("ff ff 01 02 01 fb")]


def test_broadcast_ping_is_answered_by_all_in_turn(wire: Wire) -> None:
    replies = wire.bank.handle(frame(BROADCAST_ID, Instruction.PING, b""), 9.0)

    assert [reply.data[2] for reply in replies] == [1, 2, 3, 4, 5, 6]
    assert [reply.delay_s for reply in replies] == pytest.approx(
        [(TURNAROUND_S + 60e-6) * n for n in range(1, 7)]
    )


@pytest.mark.parametrize(
    ("servo_id", "instruction", "parameters"),
    [
        (7, Instruction.PING, ()),  # nobody
        (1, 0x08, ()),  # reboot: unknown to this firmware
        (1, 0x0A, ()),
        (1, 0x0B, ()),
        (1, 0x77, (1, 2)),
        (1, Instruction.READ, (56,)),  # malformed
        (1, Instruction.WRITE, (41,)),
        (BROADCAST_ID, Instruction.READ, (56, 2)),
        (BROADCAST_ID, Instruction.WRITE, (40, 0)),
        (BROADCAST_ID, Instruction.ACTION, ()),
        (BROADCAST_ID, Instruction.SYNC_WRITE, (42, 2, 1, 0, 8)),
        (1, Instruction.SYNC_READ, (56, 2, 1)),  # only ever sent to all
    ],
)
def test_meets_these_with_silence(
    wire: Wire, servo_id: int, instruction: int, parameters: tuple[int, ...]
) -> None:
    assert wire.say(servo_id, instruction, *parameters) == []


def test_a_sync_read_is_answered_in_the_order_of_its_list_without_the_absent(wire: Wire) -> None:
    wire.bank.unplugged.add(4)

    replies = wire.say(BROADCAST_ID, Instruction.SYNC_READ, 56, 2, 6, 4, 1, 9)

    assert [reply[2] for reply in replies] == [6, 1]
    assert [int.from_bytes(reply[5:7], "little") for reply in replies] == [2048 - 500, 2048 + 10]


def test_replies_take_the_time_of_their_bytes_turnaround_and_return_delay(wire: Wire) -> None:
    wire.write(2, reg.RETURN_DELAY_TIME, 250)
    request = frame(BROADCAST_ID, Instruction.SYNC_READ, bytes((56, 15, 1, 2)))

    first, second = wire.bank.handle(request, 99.0)

    assert first.delay_s == pytest.approx(TURNAROUND_S + 21 * 10e-6)
    assert second.delay_s - first.delay_s == pytest.approx(TURNAROUND_S + 500e-6 + 21 * 10e-6)


def test_the_state_block_holds_every_present_value_at_its_address(wire: Wire) -> None:
    wire.write(1, reg.GOAL_POSITION, 2158)  # 100 steps ahead of 2058
    wire.rad[:] = 0.0
    wire.run(0.2, speed_rad_s=-1.0)

    (reply,) = wire.say(1, Instruction.READ, 56, 15)
    data = reply[5:-1]

    assert int.from_bytes(data[0:2], "little") == 2058
    assert int.from_bytes(data[2:4], "little") == 652 | 0x8000  # -1 rad/s, sign in bit 15
    assert int.from_bytes(data[4:6], "little") == pytest.approx(839, abs=2)  # duty 0.8 + 0.009 + D
    assert (data[6], data[7]) == (65, 24)
    assert (data[8], data[9], data[10]) == (0, 0, 1)  # no pending write, no fault, moving
    assert int.from_bytes(data[11:13], "little") == 2158
    amperes = 0.839 * (0.839 * 6.5 + 1.212) / 2.676
    assert int.from_bytes(data[13:15], "little") == pytest.approx(amperes / 0.0065, abs=2)


def test_load_carries_its_sign_in_bit_10(wire: Wire) -> None:
    wire.write(1, reg.GOAL_POSITION, 2058 - 50)
    wire.run(0.1)

    (reply,) = wire.say(1, Instruction.READ, 60, 2)

    assert int.from_bytes(reply[5:7], "little") == 409 | 0x400
    assert wire.read(1, reg.PRESENT_LOAD) == -409


def test_reading_past_the_end_gives_zeros(wire: Wire) -> None:
    (reply,) = wire.say(1, Instruction.READ, 250, 10)

    assert reply[5:-1] == bytes(10)


def test_a_write_may_span_registers(wire: Wire) -> None:
    wire.say(1, Instruction.WRITE, 41, 50, 0x00, 0x09, 0, 0, 0x2C, 0x01)

    assert wire.read(1, reg.ACCELERATION) == 50
    assert wire.read(1, reg.GOAL_POSITION) == 0x900
    assert wire.read(1, reg.GOAL_VELOCITY) == 300


def test_read_only_and_out_of_range_writes_are_acknowledged_and_dropped(wire: Wire) -> None:
    for register, count in [
        (reg.MODEL_NUMBER, 5),
        (reg.PRESENT_VOLTAGE, 1),
        (reg.STATUS, 7),
        (reg.TORQUE_LIMIT, 1001),
        (reg.OPERATING_MODE, 4),
        (reg.TORQUE_ENABLE, 3),
        (reg.LOCK, 2),
    ]:
        before = wire.read(1, register)

        assert wire.write(1, register, count) == [bytes.fromhex("ff ff 01 02 00 fc")]
        assert wire.read(1, register) == before


def test_response_level_0_answers_only_ping_and_read(wire: Wire) -> None:
    wire.write(1, reg.RESPONSE_STATUS_LEVEL, 0)

    assert wire.write(1, reg.ACCELERATION, 9) == []
    assert wire.read(1, reg.ACCELERATION) == 9
    assert len(wire.say(1, Instruction.PING)) == 1


def test_a_deferred_write_waits_for_action(wire: Wire) -> None:
    wire.say(2, Instruction.REG_WRITE, 41, 77)
    assert wire.read(2, reg.ASYNC_WRITE_FLAG) == 1
    assert wire.read(2, reg.ACCELERATION) == 0

    wire.say(BROADCAST_ID, Instruction.ACTION)

    assert wire.read(2, reg.ASYNC_WRITE_FLAG) == 0
    assert wire.read(2, reg.ACCELERATION) == 77


def test_a_new_id_counts_from_the_next_packet_on(wire: Wire) -> None:
    (acknowledgement,) = wire.write(6, reg.ID, 9)

    assert acknowledgement[2] == 6
    assert wire.say(6, Instruction.PING) == []
    assert wire.say(9, Instruction.PING)[0][2] == 9


def test_two_servos_of_one_id_pull_the_line_together(wire: Wire) -> None:
    (first,) = wire.say(1, Instruction.READ, 56, 2)
    (sixth,) = wire.say(6, Instruction.READ, 56, 2)
    wire.write(6, reg.ID, 1)

    (heard,) = wire.say(1, Instruction.READ, 56, 2)
    assert heard[:5] == first[:5]
    assert heard[5:7] == bytes((first[5] & sixth[5], first[6] & sixth[6]))
    assert sum(heard[2:]) & 0xFF != 0xFF
    # Where both say the same, nobody notices.
    assert wire.say(1, Instruction.PING) == [bytes.fromhex("ff ff 01 02 00 fc")]


def test_a_servo_at_another_baud_rate_hears_nothing(wire: Wire) -> None:
    wire.write(1, reg.BAUD_RATE, 5)

    assert wire.say(1, Instruction.PING) == []
    assert len(wire.say(1, Instruction.PING, baud=76_800)) == 1
    assert wire.say(2, Instruction.PING, baud=76_800) == []


def test_the_lock_decides_about_persistence_not_acceptance(wire: Wire) -> None:
    wire.write(1, reg.P_COEFFICIENT, 16)
    assert wire.read(1, reg.P_COEFFICIENT) == 16
    wire.bank.power_cycle()
    assert wire.read(1, reg.P_COEFFICIENT) == 32

    wire.write(1, reg.LOCK, 0)
    wire.write(1, reg.P_COEFFICIENT, 16)
    wire.bank.power_cycle()

    assert wire.read(1, reg.P_COEFFICIENT) == 16
    assert wire.read(1, reg.LOCK) == 1


def test_a_flash_commit_delays_the_acknowledgement(wire: Wire) -> None:
    request = frame(1, Instruction.WRITE, bytes((21, 16)))
    (live,) = wire.bank.handle(request, 50.0)
    wire.write(1, reg.LOCK, 0)
    (flashed,) = wire.bank.handle(request, 60.0)

    assert flashed.delay_s - live.delay_s == pytest.approx(FLASH_COMMIT_S)


def test_power_cycle_restores_ram_defaults_and_takes_torque_off(wire: Wire) -> None:
    wire.write(1, reg.LOCK, 0)
    wire.write(1, reg.MAX_TORQUE_LIMIT, 500)
    assert wire.read(1, reg.TORQUE_LIMIT) == 1000  # copied at power-up only
    wire.write(1, reg.GOAL_POSITION, 3000)
    wire.write(1, reg.ACCELERATION, 50)

    wire.bank.power_cycle()
    wire.run(0.001)

    assert wire.read(1, reg.TORQUE_LIMIT) == 500
    assert wire.read(1, reg.TORQUE_ENABLE) == 0
    assert wire.read(1, reg.ACCELERATION) == 0
    assert wire.read(1, reg.GOAL_POSITION) == wire.read(1, reg.PRESENT_POSITION) == 2058


def test_eeprom_outlives_the_bank(wire: Wire) -> None:
    wire.write(5, reg.LOCK, 0)
    wire.write(5, reg.HOMING_OFFSET, -321)
    other = Wire()

    other.bank.load_eeprom(wire.bank.eeprom())

    assert other.read(5, reg.HOMING_OFFSET) == -321
    with pytest.raises(ConfigError, match="239 bytes"):
        other.bank.load_eeprom(wire.bank.eeprom()[1:])


def test_factory_reset_keeps_the_id_alone(wire: Wire) -> None:
    wire.write(3, reg.LOCK, 0)
    wire.write(3, reg.ID, 30)
    wire.write(30, reg.HOMING_OFFSET, 100)
    wire.write(30, reg.P_COEFFICIENT, 16)

    assert len(wire.say(30, Instruction.RECOVERY)) == 1
    wire.bank.power_cycle()

    assert wire.read(30, reg.HOMING_OFFSET) == 0
    assert wire.read(30, reg.P_COEFFICIENT) == 32


def test_homing_offset_is_subtracted_within_one_turn(wire: Wire) -> None:
    wire.write(1, reg.HOMING_OFFSET, 100)
    assert wire.read(1, reg.PRESENT_POSITION) == 2058 - 100
    wire.write(6, reg.HOMING_OFFSET, 1600)

    assert wire.read(6, reg.PRESENT_POSITION) == (1548 - 1600) % 4096


def test_128_makes_the_present_position_the_middle(wire: Wire) -> None:
    wire.rad[4] = 1.2
    wire.run(0.001)

    wire.write(5, reg.TORQUE_ENABLE, 128)

    assert wire.read(5, reg.PRESENT_POSITION) == 2048
    assert wire.read(5, reg.HOMING_OFFSET) == 500 + round(1.2 * 4096 / (2 * np.pi))
    assert wire.read(5, reg.TORQUE_ENABLE) == 0


def test_the_offset_made_by_128_persists_as_the_lock_says(wire: Wire) -> None:
    for is_open in (0, 1):
        wire.write(5, reg.LOCK, 1 - is_open)
        wire.write(5, reg.TORQUE_ENABLE, 128)
        wire.bank.power_cycle()

        assert wire.read(5, reg.HOMING_OFFSET) == 500 * is_open


def test_multi_turn_feedback_leaves_the_turn(wire: Wire) -> None:
    wire.rad[0] = -4.0
    wire.run(0.001)
    unwrapped = 2058 - round(4.0 * 4096 / (2 * np.pi))
    assert wire.read(1, reg.PRESENT_POSITION) == unwrapped % 4096

    wire.write(1, reg.PHASE, 12 | 0x10)

    assert wire.read(1, reg.PRESENT_POSITION) == unwrapped


def test_a_goal_switches_torque_on_by_itself(wire: Wire) -> None:
    wire.write(1, reg.GOAL_POSITION, 2100)

    assert wire.read(1, reg.TORQUE_ENABLE) == 1
    for register in (reg.LOCK, reg.HOMING_OFFSET, reg.ACCELERATION):
        wire.write(2, register, 1)
    assert wire.read(2, reg.TORQUE_ENABLE) == 0


def test_torque_on_drives_to_the_stale_goal(wire: Wire) -> None:
    wire.rad[0] = 0.5  # moved by hand after power-up
    wire.run(0.1)
    assert wire.torque_nm[0] == 0.0

    wire.write(1, reg.TORQUE_ENABLE, 1)
    wire.run(0.3)

    assert wire.torque_nm[0] == pytest.approx(-1.212 * 0.97 * 6.5 / 2.676, rel=0.01)


def test_a_goal_outside_the_position_limits_is_held_at_them(wire: Wire) -> None:
    wire.write(1, reg.MIN_POSITION_LIMIT, 2048)
    wire.write(1, reg.MAX_POSITION_LIMIT, 2108)
    wire.write(1, reg.GOAL_POSITION, 4000)
    wire.run(0.2)

    assert wire.read(1, reg.GOAL_POSITION) == 4000
    assert wire.read(1, reg.PRESENT_LOAD) == pytest.approx(8 * 50 + 9, abs=1)


def test_a_goal_is_slewed_at_goal_velocity(wire: Wire) -> None:
    wire.write(1, reg.GOAL_VELOCITY, 200)
    wire.write(1, reg.GOAL_POSITION, 2058 + 400)
    wire.run(0.25)

    assert wire.read(1, reg.PRESENT_LOAD) == pytest.approx(8 * 50 + 9, abs=9)


def test_the_acceleration_register_shapes_the_slew(wire: Wire) -> None:
    wire.write(1, reg.ACCELERATION, 10)  # 1000 step/s^2: 31 steps in 0.25 s
    wire.write(1, reg.GOAL_POSITION, 2058 + 400)
    wire.run(0.25)

    assert wire.read(1, reg.PRESENT_LOAD) == pytest.approx(8 * 31 + 9, abs=9)


def test_an_accelerated_slew_ends_on_its_goal(wire: Wire) -> None:
    wire.write(1, reg.ACCELERATION, 50)
    wire.write(1, reg.GOAL_POSITION, 2058 + 60)
    loads: list[int] = []
    for _ in range(100):
        wire.run(0.01)
        loads.append(wire.read(1, reg.PRESENT_LOAD))

    assert loads[-1] == pytest.approx(8 * 60 + 9, abs=1)
    assert max(loads) <= loads[-1] + 4  # and less than half a step past it


def test_the_dead_zone_is_felt_on_its_own_side(wire: Wire) -> None:
    wire.write(1, reg.CCW_DEAD_ZONE, 5)
    wire.write(1, reg.CW_DEAD_ZONE, 0)

    loads: list[int] = []
    for error in (5, 6, -1):
        wire.write(1, reg.GOAL_POSITION, 2058 + error)
        wire.run(0.05)
        loads.append(wire.read(1, reg.PRESENT_LOAD))

    assert loads == [0, 57, -17]


def test_torque_limit_bounds_the_duty(wire: Wire) -> None:
    wire.write(1, reg.TORQUE_LIMIT, 300)
    wire.write(1, reg.GOAL_POSITION, 3000)
    wire.run(0.5)

    assert wire.read(1, reg.PRESENT_LOAD) == 300


def test_the_integral_term_pulls_a_standing_error_in(wire: Wire) -> None:
    wire.write(1, reg.I_COEFFICIENT, 32)
    wire.write(1, reg.GOAL_POSITION, 2058 + 10)
    wire.run(0.1)
    early = wire.read(1, reg.PRESENT_LOAD)
    wire.run(1.0)

    assert wire.read(1, reg.PRESENT_LOAD) > early + 50


def test_pwm_mode_turns_towards_smaller_angles(wire: Wire) -> None:
    wire.write(1, reg.OPERATING_MODE, 2)
    wire.write(1, reg.GOAL_TIME, 200)
    wire.write(1, reg.TORQUE_ENABLE, 1)
    wire.run(0.01)

    assert wire.read(1, reg.PRESENT_LOAD) == -200
    assert wire.torque_nm[0] < 0


def test_damping_brakes_without_driving(wire: Wire) -> None:
    wire.write(1, reg.TORQUE_ENABLE, 2)
    wire.run(0.01, speed_rad_s=1.0)

    assert wire.torque_nm[0] == pytest.approx(-(1.212**2) / 2.676)
    assert wire.torque_nm[1] == 0.0


def test_moving_rises_a_little_after_a_goal_and_falls(wire: Wire) -> None:
    wire.write(1, reg.GOAL_POSITION, 2058 + 100)
    assert wire.read(1, reg.MOVING) == 0
    wire.run(0.015)
    assert wire.read(1, reg.MOVING) == 1
    wire.run(0.1)
    assert wire.read(1, reg.MOVING) == 0


# -- protections -----------------------------------------------------------------------------


def test_overload_falls_to_protective_torque_until_a_goal_comes(wire: Wire) -> None:
    wire.write(1, reg.GOAL_POSITION, 2058 + 110)  # 88.9 % duty against a locked shaft
    wire.run(1.9)
    assert wire.read(1, reg.STATUS) == 0
    wire.run(0.2)

    assert wire.read(1, reg.STATUS) == 0x20
    assert wire.say(1, Instruction.PING)[0][4] == 0x20
    wire.run(1.0)
    assert wire.read(1, reg.PRESENT_LOAD) == 200  # latched: 20 %

    wire.write(1, reg.GOAL_POSITION, 2058 + 110)
    wire.run(0.1)
    assert wire.read(1, reg.STATUS) == 0
    assert wire.read(1, reg.PRESENT_LOAD) == 889


def test_no_overload_at_a_load_below_the_threshold(wire: Wire) -> None:
    wire.write(1, reg.GOAL_POSITION, 2058 + 95)  # 76.9 %
    wire.run(4.0)

    assert wire.read(1, reg.STATUS) == 0


def test_overload_only_flags_where_unloading_is_off(wire: Wire) -> None:
    wire.write(1, reg.UNLOADING_CONDITION, 0)
    wire.write(1, reg.GOAL_POSITION, 2058 + 110)
    wire.run(2.2)

    assert wire.read(1, reg.STATUS) == 0x20
    assert wire.read(1, reg.PRESENT_LOAD) == 889


def test_overcurrent_cuts_the_output_until_a_goal_comes(wire: Wire) -> None:
    wire.write(1, reg.OVERLOAD_TORQUE, 100)
    wire.write(1, reg.PROTECTION_CURRENT, 250)  # 1.6 A
    wire.write(1, reg.GOAL_POSITION, 3000)
    wire.run(2.6)

    assert wire.read(1, reg.STATUS) == 0x08
    assert wire.torque_nm[0] == 0.0
    wire.write(1, reg.GOAL_POSITION, 3000)
    wire.run(0.01)
    assert wire.read(1, reg.STATUS) == 0
    assert wire.torque_nm[0] > 1.0


def test_voltage_outside_its_limits_flags_and_clears_itself(wire: Wire) -> None:
    wire.write(1, reg.GOAL_POSITION, 2158)
    for supply_v, bit in ((12.0, 1), (3.9, 1), (7.4, 0)):
        wire.bank.supply_v = supply_v
        wire.run(0.05)
        assert wire.read(1, reg.STATUS) == bit
        assert wire.read(1, reg.PRESENT_VOLTAGE) == round(supply_v * 10)
        assert wire.torque_nm[0] > 0  # it only flags: unloading bit 0 is off


def test_heat_follows_the_current_slowly_and_cuts_torque(wire: Wire) -> None:
    wire.write(1, reg.OVERLOAD_TORQUE, 100)
    wire.write(1, reg.GOAL_POSITION, 3000)
    wire.run(20.0)
    warm = wire.read(1, reg.PRESENT_TEMPERATURE)
    assert 30 <= warm <= 45
    assert wire.read(2, reg.PRESENT_TEMPERATURE) <= 25

    wire.write(1, reg.MAX_TEMPERATURE_LIMIT, warm - 1)
    wire.run(0.02)

    assert wire.read(1, reg.STATUS) == 0x04
    assert wire.torque_nm[0] == 0.0
    wire.write(1, reg.GOAL_POSITION, 3000)
    wire.run(0.02)
    assert wire.torque_nm[0] == 0.0  # a goal does not cool it


def test_the_seed_draws_the_mounting_and_nothing_else() -> None:
    first, same, other = (ServoBank(seed=seed) for seed in (1, 1, 2))
    packet = frame(BROADCAST_ID, Instruction.SYNC_READ, bytes((56, 15, 1, 2, 3, 4, 5, 6)))

    assert first.handle(packet, 0.0) == same.handle(packet, 0.0)
    assert first.handle(packet, 1.0) != other.handle(packet, 1.0)
