"""Who of the servos on one wire answers a request, in which order, and what a collision gives.

Feetech's rules: everything but PING and SYNC_READ is silent on the broadcast id; a SYNC_READ is
answered in the order of its list. Two servos of one id answer at once: the line is open-drain, so
the host hears the wired AND of both.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from robot.registers import BROADCAST_ID
from sim.protocol import Instruction, Request
from sim.single_servo import Servo

_IDLE_LINE = 0xFF


class Answer(NamedTuple):
    """One status packet: whose (place on the arm), its bytes, the pause before it."""

    place: int
    data: bytes
    pause_s: float  # beyond the turnaround


def execute(request: Request, listeners: Sequence[tuple[int, Servo]]) -> list[Answer]:
    """Let those who hear a request (place, servo) execute it; return what they answer, in order."""
    match request.instruction:
        case Instruction.SYNC_READ:
            return _sync_read(request, listeners)
        case Instruction.SYNC_WRITE:
            _sync_write(request, listeners)
            return []
        case _:
            return _single(request, listeners)


def _single(request: Request, listeners: Sequence[tuple[int, Servo]]) -> list[Answer]:
    is_broadcast = request.id == BROADCAST_ID
    is_query = request.instruction in (Instruction.PING, Instruction.READ)
    slots: dict[int, list[Answer]] = {}
    for place, servo in listeners:
        if not is_broadcast and servo.id != request.id:
            continue
        own_id, answers_all = servo.id, servo.is_answering_all
        outcome = servo.execute(request.instruction, request.parameters)
        if outcome is None:
            continue
        is_answering = (
            request.instruction == Instruction.PING if is_broadcast else is_query or answers_all
        )
        if is_answering:
            data, extra_s = outcome
            packet = servo.status_packet(own_id, data)
            answer = Answer(place, packet, servo.return_delay_s + extra_s)
            slots.setdefault(own_id, []).append(answer)
    return [_collided(answers) for answers in slots.values()]


def _sync_read(request: Request, listeners: Sequence[tuple[int, Servo]]) -> list[Answer]:
    """Answer in the order of the list; skip the absent [a real one may wait for its slot]."""
    if request.id != BROADCAST_ID or len(request.parameters) < 3:
        return []
    address, size, *ids = request.parameters
    answers: list[Answer] = []
    for servo_id in ids:
        slot = [
            Answer(
                place,
                servo.status_packet(servo_id, servo.read(address, size)),
                servo.return_delay_s,
            )
            for place, servo in listeners
            if servo.id == servo_id
        ]
        if slot:
            answers.append(_collided(slot))
    return answers


def _sync_write(request: Request, listeners: Sequence[tuple[int, Servo]]) -> None:
    parameters = request.parameters
    if request.id != BROADCAST_ID or len(parameters) < 2:
        return
    address, size = parameters[0], parameters[1]
    if size == 0 or (len(parameters) - 2) % (size + 1):
        return
    for at in range(2, len(parameters), size + 1):
        for _, servo in listeners:
            if servo.id == parameters[at]:
                servo.write(address, parameters[at + 1 : at + 1 + size])


def _collided(answers: Sequence[Answer]) -> Answer:
    """Return what the host hears of answers in one slot: a bit is 1 where nobody says 0."""
    first, *others = answers
    for other in others:
        pairs = zip_longest(first.data, other.data, fillvalue=_IDLE_LINE)
        data = bytes(a & b for a, b in pairs)
        first = Answer(first.place, data, max(first.pause_s, other.pause_s))
    return first
