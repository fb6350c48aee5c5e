"""A child of the bus comparison: `python -m benchmarks.bus_methods METHOD SERIAL_DEVICE`.

Each method is the way its own documentation reads all servos at once, and imports its own library
only. All but rustypot's and LeRobot's (`lerobot_side`), which return angles, return the raw values.
"""

import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from benchmarks.bus_block import Reader, serve_blocks
from benchmarks.child import begin_child
from robot.joints import SERVO_IDS
from robot.registers import PRESENT_POSITION, STATE_BLOCK, Register


@contextmanager
def ours(device: str, register: Register) -> Generator[Reader]:
    """Read through this project's bus, as its control loop does."""
    from robot.bus import ServoBus
    from robot.clock import MonotonicClock
    from robot.packets import BlockRead
    from robot.port import ServoPort

    clock = MonotonicClock()
    block = BlockRead(register, SERVO_IDS)
    with ServoBus(ServoPort.open(device, clock), clock) as bus:

        def read() -> list[int]:
            data = bus.read_block(block).data
            if len(data) != len(SERVO_IDS):
                raise RuntimeError("a reply is missing")
            return [int.from_bytes(data[servo_id][:2], "little") for servo_id in SERVO_IDS]

        yield read


@contextmanager
def sdk(device: str, register: Register) -> Generator[Reader]:
    """Read through feetech-servo-sdk's GroupSyncRead."""
    from scservo_sdk import COMM_SUCCESS, GroupSyncRead, PacketHandler, PortHandler

    port = PortHandler(device)
    port.openPort()
    port.setBaudRate(1_000_000)
    group = GroupSyncRead(port, PacketHandler(0), register.address, register.size)
    for servo_id in SERVO_IDS:
        group.addParam(servo_id)

    def read() -> list[int]:
        if group.txRxPacket() != COMM_SUCCESS:
            raise RuntimeError("a reply is missing")
        return [group.getData(servo_id, register.address, 2) for servo_id in SERVO_IDS]

    try:
        yield read
    finally:
        port.closePort()


@contextmanager
def rustypot(device: str, register: Register) -> Generator[Reader]:
    """Read through rustypot's controller."""
    from rustypot import Sts3215PyController

    controller = Sts3215PyController(device, 1_000_000, 0.05)
    ids: list[int] = list(SERVO_IDS)
    if register is PRESENT_POSITION:
        yield lambda: controller.sync_read_present_position(ids)
        return

    def read() -> list[int]:
        replies = controller.sync_read_raw_data(ids, register.address, register.size)
        return [int.from_bytes(bytes(data[:2]), "little") for data in replies]

    yield read


METHODS: dict[str, Callable[[str, Register], AbstractContextManager[Reader]]] = {
    "ours": ours,
    "sdk": sdk,
    "rustypot": rustypot,
}
REGISTERS = {"position": PRESENT_POSITION, "block": STATE_BLOCK}


def main() -> None:
    """Serve one method."""
    begin_child()
    method, register, device = sys.argv[1:]
    serve_blocks(partial(METHODS[method], device, REGISTERS[register]))


if __name__ == "__main__":
    main()
