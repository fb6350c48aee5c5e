"""The motor of one STS3215: position law, goal slew, electrical model, protections and heat.

Called once a millisecond for each of twelve servos. Plain numbers in slots: measured on six servos,
a step takes half the time of the same law in numpy calls on vectors of six, and every register
keeps its own branch. What changes slowly (protections, temperature) runs every 10 ms, the
resolution of the servo's own timers. Units are the servo's inside (steps, duty -1..1) and the
world's at the border (rad, rad/s, Nm).

The law and its figures (docs/provenance.md): duty = P·e/4000 + 0.009·sign(e) outside the dead zone,
fitted to oscilloscope data of kscalelabs at P = 32, D = 0; motor constants of BAM's 7.4 V STS3215;
derivative term and friction fitted to the recordings of a real SO-101 described in
docs/servo-model.md.
"""

import math
from dataclasses import dataclass

from robot.joints import MAX_TICK, TICKS_PER_TURN

STEPS_PER_RAD = TICKS_PER_TURN / (2.0 * math.pi)
SUPPLY_V = 6.5  # a 7.4 V supply sagging under an arm

KT_NM_A = 1.212  # output side, gear 1:345; also the back-EMF constant in V s/rad
RESISTANCE_OHM = 2.676
MAX_DUTY = 0.97
GAIN_PER_P = 1.0 / 4000.0  # duty per step and count of P
STARTUP_DUTY = 0.009  # at Minimum_Startup_Force = 16
DERIVATIVE_DUTY = 0.03  # duty per rad/s at D = 32
# Duty per step·s and count of I [law unpublished; LeRobot sets I = 0].
INTEGRAL_PER_I = 1.0 / 4000.0
SLEW_STEP_S = 3400.0  # the goal moves inside the servo no faster than this
ACCELERATION_STEP_S2 = 100.0  # per count of register 41

PROTECTION_TICK_S = 0.01
AMBIENT_CELSIUS = 24.0
THERMAL_TAU_S = 720.0  # 10..15 min measured (XLeRobot A2)
THERMAL_K_PER_W = 23.0  # with IDLE_W fits 100..800 g at 18.6 cm held for 28 min: 37..65 C
IDLE_W = 0.4
CURRENT_COUNT_A = 0.0065
MOVING_STEP_S = 10.0  # slower than this counts as standing [register 80's unit is undocumented]

VOLTAGE_BIT, TEMPERATURE_BIT, CURRENT_BIT, OVERLOAD_BIT = 0x01, 0x04, 0x08, 0x20
MODE_POSITION, MODE_PWM = 0, 2


@dataclass(frozen=True, slots=True)
class GearSpec:
    """Gear ratios of an arm's six servos; the motor behind them is the same."""

    ratios: tuple[float, ...]

    @property
    def relative(self) -> tuple[float, ...]:
        """Ratios relative to the follower's 1:345: torque constants scale with them."""
        return tuple(ratio / 345.0 for ratio in self.ratios)


FOLLOWER_GEAR = GearSpec((345.0,) * 6)
# SO-101 parts list: leader joints 1 and 3 are C044 (1:191), 2 is C001 (1:345), 4 to 6 are C046
# (1:147).
LEADER_GEAR = GearSpec((191.0, 345.0, 191.0, 147.0, 147.0, 147.0))


@dataclass(frozen=True, slots=True)
class MotorSettings:
    """One servo's registers in the motor's terms."""

    torque: int  # register 40: 0 off, 1 on, 2 damping
    mode: int
    p: int
    d: int
    i: int
    startup_force: int
    dead_zone_cw: int
    dead_zone_ccw: int
    acceleration: int
    speed_step_s: float  # limit of the goal's slew, step/s
    pwm: int  # mode 2, 0.1 %
    torque_limit: int  # 0.1 %
    zero_tick: int  # raw tick at 0 rad less the homing offset
    is_multi_turn: bool
    max_temperature: int
    min_voltage: int  # 0.1 V
    max_voltage: int
    unloading: int
    protection_current: int
    current_time: int  # 10 ms
    overload_torque: int  # %
    overload_time: int  # 10 ms
    protective_torque: int  # %


class Motor:
    """One motor. The owner sets settings and goals; `step` turns joint motion into torque."""

    __slots__ = (
        "_acceleration_step_s2", "_brake_nm_s", "_ccw", "_current_ticks", "_cw", "_derivative",
        "_drive_nm", "_gain", "_integral", "_integral_gain", "_is_driven", "_is_multi_turn",
        "_kt_nm_a", "_limit", "_overload_ticks", "_pwm", "_setpoint_speed", "_settings", "_slew",
        "_startup", "_step_s", "_supply_v", "_zero", "celsius", "duty", "goal_tick", "is_moving",
        "position_rad", "setpoint", "status", "strain", "torque_nm", "velocity_rad_s",
    )  # fmt: skip

    def __init__(
        self, settings: MotorSettings, supply_v: float, relative_gear: float, step_s: float
    ) -> None:
        self._supply_v, self._step_s = supply_v, step_s
        self._kt_nm_a = KT_NM_A * relative_gear
        self.celsius = AMBIENT_CELSIUS
        self.position_rad = self.velocity_rad_s = self.torque_nm = 0.0
        self.goal_tick = 0
        self.strain = 0.0  # duty a jam asks for, 0..1: seen by protections and registers alone
        self.setpoint = 0.0  # the goal after the slew, step
        self._settings = settings
        self.forget_faults()
        self.apply(settings)

    @property
    def supply_v(self) -> float:
        """Voltage at the connector."""
        return self._supply_v

    @supply_v.setter
    def supply_v(self, supply_v: float) -> None:
        self._supply_v = supply_v
        self._update_status()
        self._update_output()

    def apply(self, settings: MotorSettings) -> None:
        """Take over the registers."""
        before = self._settings
        self._settings = settings
        self._zero = settings.zero_tick
        self._is_multi_turn = settings.is_multi_turn
        self._slew = settings.speed_step_s * self._step_s
        self._acceleration_step_s2 = settings.acceleration * ACCELERATION_STEP_S2
        self._gain = settings.p * GAIN_PER_P
        self._startup = STARTUP_DUTY * settings.startup_force / 16
        self._derivative = DERIVATIVE_DUTY * settings.d / 32
        self._integral_gain = settings.i * INTEGRAL_PER_I * self._step_s
        self._cw, self._ccw = -settings.dead_zone_cw, settings.dead_zone_ccw
        self._pwm = -settings.pwm / 1000 if settings.mode == MODE_PWM else None
        if settings.torque == 1 and before.torque != 1:
            self.setpoint = float(self.present_tick)
            self._setpoint_speed = self._integral = 0.0
        self._update_status()
        self._update_output()

    def set_goal(self, tick: int) -> None:
        """Set a new goal; it clears a latched overload or overcurrent."""
        self.goal_tick = tick
        if self.status & (OVERLOAD_BIT | CURRENT_BIT):
            # Whether a re-sent goal restarts the 2 s timer is untested on hardware: here it does so
            # only after a trip.
            self.status &= ~(OVERLOAD_BIT | CURRENT_BIT)
            self._overload_ticks = self._current_ticks = 0
            self._update_output()

    def rest_at_present(self) -> int:
        """Make the present position the goal, as at power-up; return it."""
        self.goal_tick = self.present_tick
        self.setpoint = float(self.goal_tick)
        return self.goal_tick

    def forget_faults(self) -> None:
        """Clear latches, timers and the controller's memory, as losing power does."""
        self.status = 0
        self.is_moving = False
        self.duty = 0.0
        self._overload_ticks = self._current_ticks = 0
        self._setpoint_speed = self._integral = 0.0

    @property
    def present_tick(self) -> int:
        """What Present_Position shows: encoder less homing offset, within a turn, or not."""
        tick = round(self.position_rad * STEPS_PER_RAD) + self._zero
        return tick if self._is_multi_turn else tick % TICKS_PER_TURN

    @property
    def load(self) -> float:
        """Signed duty as Present_Load shows it: what drives the joint, or what a jam asks for."""
        is_strained = self.strain > 0.0 and self._is_driven
        least = min(self.strain, self._limit) if is_strained else 0.0
        return math.copysign(max(abs(self.duty), least), self.duty)

    @property
    def supply_current_a(self) -> float:
        """Supply current: duty times phase current, which is what register 69 resembles."""
        current_a = abs(self.duty * self.torque_nm / self._kt_nm_a)
        blocked_a = self.load**2 * self._supply_v / RESISTANCE_OHM
        return max(current_a, blocked_a) if self.strain else current_a

    def trip_overload(self) -> None:
        """Latch an overload now, whatever the load; a new goal clears it."""
        self.status |= OVERLOAD_BIT
        self._update_output()

    def step(self, position_rad: float, velocity_rad_s: float) -> float:
        """Advance by one step of the world; return the motor's torque in Nm."""
        self.position_rad = position_rad
        self.velocity_rad_s = velocity_rad_s
        if not self._is_driven:
            return 0.0
        tick = round(position_rad * STEPS_PER_RAD) + self._zero
        if not self._is_multi_turn:
            tick &= MAX_TICK
        way = self.goal_tick - self.setpoint
        if self._acceleration_step_s2:
            way = self._profiled(way)
        elif way > self._slew:
            way = self._slew
        elif way < -self._slew:
            way = -self._slew
        self.setpoint += way
        error = self.setpoint - tick
        if error > self._ccw:
            duty = self._gain * error + self._startup
        elif error < self._cw:
            duty = self._gain * error - self._startup
        else:
            duty = 0.0
        duty -= self._derivative * velocity_rad_s
        if self._integral_gain:
            self._integral = _clip(self._integral + error * self._integral_gain, MAX_DUTY)
            duty += self._integral
        if self._pwm is not None:
            duty = self._pwm
        limit = self._limit
        if duty > limit:
            duty = limit
        elif duty < -limit:
            duty = -limit
        self.duty = duty
        self.torque_nm = torque_nm = self._drive_nm * duty - self._brake_nm_s * velocity_rad_s
        return torque_nm

    def _profiled(self, way: float) -> float:
        """Return this step's share of the way on a trapezoid of the register's acceleration."""
        dt = self._step_s
        distance = abs(way)
        # Fastest speed from which the rest of the way suffices to stop, in steps a tick; never past
        # the goal.
        speed = min(
            math.sqrt(2.0 * self._acceleration_step_s2 * distance) * dt, distance, self._slew
        )
        change = self._acceleration_step_s2 * dt * dt
        low, high = self._setpoint_speed - change, self._setpoint_speed + change
        self._setpoint_speed = min(max(math.copysign(speed, way), low), high)
        return self._setpoint_speed

    def _update_output(self) -> None:
        """Recompute duty limit and torque constants from the torque switch and the faults."""
        settings = self._settings
        faults = self.status & settings.unloading
        limit = min(MAX_DUTY, settings.torque_limit / 1000)
        if faults & OVERLOAD_BIT:
            limit = min(limit, settings.protective_torque / 100)
        is_cut = bool(faults & ~OVERLOAD_BIT)
        is_working = settings.torque == 1 and settings.mode in (MODE_POSITION, MODE_PWM)
        self._is_driven = settings.torque != 0 and not is_cut
        self._limit = limit if is_working else 0.0
        self._drive_nm = self._kt_nm_a * self._supply_v / RESISTANCE_OHM
        self._brake_nm_s = self._kt_nm_a * self._kt_nm_a / RESISTANCE_OHM
        if not self._is_driven:
            self.duty = self.torque_nm = 0.0

    def protect(self) -> None:
        """Advance the 10 ms timers: overload, overcurrent, heat, the moving flag."""
        settings = self._settings
        current_a = self.torque_nm / self._kt_nm_a
        heat_w = current_a * current_a * RESISTANCE_OHM + IDLE_W
        target = AMBIENT_CELSIUS + THERMAL_K_PER_W * heat_w
        self.celsius += (target - self.celsius) * (PROTECTION_TICK_S / THERMAL_TAU_S)
        is_over = abs(self.load) * 100 > settings.overload_torque
        self._overload_ticks = self._overload_ticks + 1 if is_over else 0
        is_over = self.supply_current_a > settings.protection_current * CURRENT_COUNT_A
        self._current_ticks = self._current_ticks + 1 if is_over else 0
        is_under_way = self._limit > 0.0 and abs(self.goal_tick - self.setpoint) > 1.0
        self.is_moving = is_under_way or abs(self.velocity_rad_s) * STEPS_PER_RAD > MOVING_STEP_S
        self._update_status()

    def _update_status(self) -> None:
        """Set and clear the status bits; the latched ones are only set here."""
        settings = self._settings
        status = self.status & (OVERLOAD_BIT | CURRENT_BIT)
        if not settings.min_voltage <= self._supply_v * 10 <= settings.max_voltage:
            status |= VOLTAGE_BIT
        if self.celsius > settings.max_temperature:
            status |= TEMPERATURE_BIT
        if self._overload_ticks > settings.overload_time:
            status |= OVERLOAD_BIT
        if self._current_ticks > settings.current_time:
            status |= CURRENT_BIT
        if status != self.status:
            self.status = status
            self._update_output()


def _clip(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)
