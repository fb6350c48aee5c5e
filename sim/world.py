"""The physics of the twin: a follower on a table with blocks, and a leader, both in MuJoCo.

Motor torques come from the emulated servos (`sim/servo.py`); this module adds what the motor does
not know: gear friction, reflected inertia, gravity, contact, and a person's hand. Joint vectors
are radians in the model's convention, shape (6,), order of `robot.joints.JOINTS`. The only
importer of mujoco in this room beside `rendering`.
"""

from dataclasses import dataclass
from importlib import resources

import mujoco
import numpy as np

from robot.joints import FloatVector
from sim.servo_motor import FOLLOWER_GEAR, LEADER_GEAR, GearSpec
from sim.tasks.pick_red import COLOURS, BlockPose, TaskStart

STEP_S = 0.001
BLOCK_HALF_M = 0.0125

_ARM_JOINTS = 6


@dataclass(frozen=True, slots=True)
class JointFriction:
    """What a geared servo does to its joint besides the motor's torque; arrays of shape (6,)."""

    coulomb_nm: FloatVector
    viscous_nm_s: FloatVector
    armature_kg_m2: FloatVector


# One figure set for all six follower joints (STS3215, gear 1:345), identified at the bench and
# checked against a recording of real arms: docs/provenance.md, "servo friction".
_COULOMB_NM = 0.15
_VISCOUS_NM_S = 0.059
_ARMATURE_KG_M2 = 0.0284


def geared_friction(gear: GearSpec) -> JointFriction:
    """Scale the follower's figures: friction by a gear's ratio, inertia and drag by its square."""
    ratio = np.array(gear.relative)
    return JointFriction(_COULOMB_NM * ratio, _VISCOUS_NM_S * ratio**2, _ARMATURE_KG_M2 * ratio**2)


# A hand: stiff where the arm is heavy, and never stronger than a person's fingers are careful.
HAND_STIFFNESS_NM = np.array([120.0, 120.0, 100.0, 40.0, 20.0, 10.0])
HAND_DAMPING_NM_S = np.array([5.0, 5.0, 4.0, 1.2, 0.5, 0.35])
HAND_LIMIT_NM = np.array([5.0, 5.0, 4.0, 2.5, 1.5, 1.5])


class _DrivenJoints:
    """The six joints of an arm in a MuJoCo model: torques and a hand's pull in, positions out."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, friction: JointFriction) -> None:
        model.opt.timestep = STEP_S
        model.dof_frictionloss[:_ARM_JOINTS] = friction.coulomb_nm
        model.dof_damping[:_ARM_JOINTS] = friction.viscous_nm_s
        model.dof_armature[:_ARM_JOINTS] = friction.armature_kg_m2
        mujoco.mj_setConst(model, data)
        self.position_rad: FloatVector = data.qpos[:_ARM_JOINTS]
        self.velocity_rad_s: FloatVector = data.qvel[:_ARM_JOINTS]
        self._applied_nm: FloatVector = data.qfrc_applied[:_ARM_JOINTS]

    def drive(self, torque_nm: FloatVector, hand_target_rad: FloatVector | None) -> None:
        """Set the torques of the coming step."""
        if hand_target_rad is None:
            self._applied_nm[:] = torque_nm
            return
        pull_nm = HAND_STIFFNESS_NM * (hand_target_rad - self.position_rad)
        pull_nm -= HAND_DAMPING_NM_S * self.velocity_rad_s
        np.minimum(pull_nm, HAND_LIMIT_NM, out=pull_nm)
        np.maximum(pull_nm, -HAND_LIMIT_NM, out=pull_nm)
        np.add(pull_nm, torque_nm, out=self._applied_nm)


class FollowerWorld:
    """The follower on its table with a red, a blue and a green block.

    `position_rad` and `velocity_rad_s` are views, shape (6,): they show the present state after
    every step. `model` has everything there is to see and is for renderers; the physics of `data`
    run on `physics`, the same world without it (both have the same `qpos`).
    """

    def __init__(self) -> None:
        self.model = _tabletop().compile()
        self.physics = _physics_of(_tabletop())
        self.data = mujoco.MjData(self.physics)
        self._joints = _DrivenJoints(self.physics, self.data, geared_friction(FOLLOWER_GEAR))
        self.position_rad = self._joints.position_rad
        self.velocity_rad_s = self._joints.velocity_rad_s
        self._block_address = {
            colour: _free_joint_address(self.physics, colour) for colour in COLOURS
        }
        mujoco.mj_forward(self.physics, self.data)

    def step(self, torque_nm: FloatVector, hand_target_rad: FloatVector | None = None) -> None:
        """Advance by `STEP_S` under these motor torques and a hand that pulls to a target."""
        self._joints.drive(torque_nm, hand_target_rad)
        mujoco.mj_step(self.physics, self.data)

    def reset(self, start: TaskStart) -> None:
        """Put arm and blocks where `start` says, at rest; time in `data` starts again at 0."""
        mujoco.mj_resetData(self.physics, self.data)
        self.position_rad[:] = start.arm_rad
        for block in (start.red, *start.others):
            address = self._block_address[block.colour]
            self.data.qpos[address : address + 7] = _block_qpos(block)
        mujoco.mj_forward(self.physics, self.data)

    def gravity_nm(self) -> FloatVector:
        """Return the torque that holds the arm's own weight in its present pose, shape (6,)."""
        return np.array(self.data.qfrc_bias[:_ARM_JOINTS])

    def block_position_m(self, colour: str) -> FloatVector:
        """Return the centre of a block in the base frame, shape (3,)."""
        address = self._block_address[colour]
        return np.array(self.data.qpos[address : address + 3])

    def block_yaw_rad(self, colour: str) -> float:
        """Return a block's turn about the vertical."""
        address = self._block_address[colour]
        w, x, y, z = self.data.qpos[address + 3 : address + 7]
        return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


class LeaderArm:
    """The leader: the same arm on lighter gears, touching nothing.

    With `FOLLOWER_GEAR` it is a follower in free air, for the bench. `position_rad` and
    `velocity_rad_s` are views, shape (6,): they show the present state after every step.
    """

    def __init__(self, gear: GearSpec = LEADER_GEAR) -> None:
        spec = mujoco.MjSpec.from_string(_arm_xml())
        spec.compiler.discardvisual = True
        self.model = spec.compile()
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
        self.data = mujoco.MjData(self.model)
        self._joints = _DrivenJoints(self.model, self.data, geared_friction(gear))
        self.position_rad = self._joints.position_rad
        self.velocity_rad_s = self._joints.velocity_rad_s
        mujoco.mj_forward(self.model, self.data)

    def step(self, torque_nm: FloatVector, hand_target_rad: FloatVector | None = None) -> None:
        """Advance by `STEP_S` under these motor torques and a hand that pulls to a target."""
        self._joints.drive(torque_nm, hand_target_rad)
        mujoco.mj_step(self.model, self.data)

    def reset(self, arm_rad: FloatVector) -> None:
        """Put the joints at `arm_rad`, shape (6,), at rest."""
        mujoco.mj_resetData(self.model, self.data)
        self.position_rad[:] = arm_rad
        mujoco.mj_forward(self.model, self.data)


def _arm_xml() -> str:
    return (resources.files("robot") / "model" / "so101.xml").read_text()


def _tabletop() -> mujoco.MjSpec:
    xml = (resources.files("sim") / "model" / "tabletop.xml").read_text()
    return mujoco.MjSpec.from_string(xml, include={"so101.xml": _arm_xml().encode()})


def _physics_of(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """Compile a world for stepping: nothing that is only seen, and blocks at rest sleep.

    Measured while the arm moves over three blocks at rest: 18.5 us a step with both kept, 9 us so.
    The arm never sleeps; what it touches wakes up.
    """
    spec.compiler.discardvisual = True
    spec.body("shoulder").sleep = mujoco.mjtSleepPolicy.mjSLEEP_NEVER
    model = spec.compile()
    model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    return model


def _block_qpos(block: BlockPose) -> FloatVector:
    half = block.yaw_rad / 2
    return np.array([block.x_m, block.y_m, BLOCK_HALF_M, np.cos(half), 0.0, 0.0, np.sin(half)])


def _free_joint_address(model: mujoco.MjModel, body: str) -> int:
    return int(model.jnt_qposadr[model.body(body).jntadr[0]])
