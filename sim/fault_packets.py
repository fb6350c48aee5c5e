"""What a fault does to the bytes of one status packet; each a function of packet, fault and dice.

A packet is `FF FF ID LEN ERROR DATA... CHECKSUM`.
"""

from collections.abc import Callable
from random import Random

from robot.registers import STATUS
from sim.faults import Fault, FaultKind
from sim.protocol import HEADER, Instruction, Request, checksum

_LENGTH_AT, _ERROR_AT = 3, 4
_OVERHEAD = 6  # bytes of a packet without data
_WRONG_LENGTH = 40
_OVERLOAD_BITS = 0x20


def spoil(packet: bytes, fault: Fault, request: Request, dice: Random) -> bytes:
    """Return what arrives of a status packet, the reply to `request`, under a fault of bytes."""
    if fault.kind == "error":
        return _with_error_bits(packet, fault, request)
    change = _CHANGES.get(fault.kind)
    return packet if change is None else change(packet, fault, dice)


def _flip(packet: bytes, fault: Fault, dice: Random) -> bytes:
    at = _place(fault, dice, len(packet))
    bit = dice.randrange(8) if fault.bit is None else fault.bit
    return packet[:at] + bytes((packet[at] ^ 1 << bit,)) + packet[at + 1 :]


def _insert(packet: bytes, fault: Fault, dice: Random) -> bytes:
    at = _place(fault, dice, len(packet) + 1)
    value = dice.randrange(256) if fault.value is None else fault.value
    return packet[:at] + bytes((value,)) + packet[at:]


def _lose(packet: bytes, fault: Fault, dice: Random) -> bytes:
    at = _place(fault, dice, len(packet))
    return packet[:at] + packet[at + 1 :]


def _truncate(packet: bytes, fault: Fault, dice: Random) -> bytes:
    return packet[: _place(fault, dice, len(packet))]


def _wrong_length(packet: bytes, fault: Fault, dice: Random) -> bytes:
    length = _WRONG_LENGTH if fault.value is None else fault.value
    if not fault.is_well_formed:
        return packet[:_LENGTH_AT] + bytes((length,)) + packet[_LENGTH_AT + 1 :]
    size = max(length - 2, 0)
    data = packet[_ERROR_AT + 1 : -1][:size].ljust(size, b"\0")
    return _sealed(bytes((packet[2], size + 2, packet[_ERROR_AT])) + data)


def _with_error_bits(packet: bytes, fault: Fault, request: Request) -> bytes:
    bits = _OVERLOAD_BITS if fault.error_bits is None else fault.error_bits
    spoiled = bytearray(packet)
    spoiled[_ERROR_AT] |= bits
    if request.instruction in (Instruction.READ, Instruction.SYNC_READ):
        at = STATUS.address - request.parameters[0]
        if 0 <= at < len(packet) - _OVERHEAD:
            spoiled[_ERROR_AT + 1 + at] |= bits
    return _sealed(bytes(spoiled[2:-1]))


def _sealed(body: bytes) -> bytes:
    return HEADER + body + bytes((checksum(body),))


def _place(fault: Fault, dice: Random, size: int) -> int:
    """Return the byte that is hit: the one named, held within the packet, or any."""
    return dice.randrange(size) if fault.at is None else min(fault.at, size - 1)


_CHANGES: dict[FaultKind, Callable[[bytes, Fault, Random], bytes]] = {
    "flip": _flip,
    "insert": _insert,
    "lose": _lose,
    "truncate": _truncate,
    "length": _wrong_length,
}
