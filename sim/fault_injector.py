"""Faults at work between the servos of one arm and whatever carries their bytes.

A transport (`memory_serial.py`, `pty_port.py`) hands bytes to the injector as it would to the bank,
so the same faults give the same bytes in memory and on a pty. Deterministic: time is what `advance`
and `handle` are told, chance is drawn from each fault's seed. Without faults it costs one
comparison a request.
"""

import dataclasses
from random import Random

from sim.fault_packets import spoil
from sim.fault_servos import servo_effect
from sim.faults import KINDS, Fault
from sim.protocol import Request
from sim.servo import BITS_A_BYTE, Reply, ServoBank

DELAY_S = 0.06  # longer than LeRobot's 50 ms: the reply comes after the host has given up


class FaultInjector:
    """The faults of one arm; `add` them at any time."""

    def __init__(self, bank: ServoBank) -> None:
        self.bank = bank
        self._now_s: float | None = None
        self._running: list[_Running] = []
        self._kept_back: list[Reply] = []

    # -- what is to go wrong -------------------------------------------------------------------

    def add(self, fault: Fault) -> None:
        """Let a fault begin `after_s` from the next moment the injector is told of."""
        self._running.append(_Running(fault, self.bank))

    def clear(self) -> None:
        """End all faults: causes go, effects stay (a tripped servo stays tripped)."""
        for running in self._running:
            running.stop()
        self._running.clear()
        self._kept_back.clear()

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Those that have not ended, whether they have begun or not."""
        return tuple(running.fault for running in self._running)

    @property
    def is_plugged(self) -> bool:
        """Whether the adapter is on its cable, as of the last moment told."""
        if not self._running:
            return True
        return not any(r.fault.kind == "unplug" and r.is_on for r in self._running)

    def advance(self, now_s: float) -> None:
        """Begin and end what is due, and let the rest go on; call about every 10 ms."""
        before_s = now_s if self._now_s is None else self._now_s
        # A line's clock is finer than the world's: what was told last is not always the later.
        self._now_s = now_s = max(now_s, before_s)
        if not self._running:
            return
        elapsed_s = now_s - before_s
        for running in self._running:
            running.advance(now_s, elapsed_s)
        self._running = [running for running in self._running if not running.is_over]

    # -- wire ----------------------------------------------------------------------------------

    def handle(self, packet: bytes, now_s: float, baud_hz: int = 1_000_000) -> list[Reply]:
        """Take the next bytes of the wire; return what arrives at the host, as far as it does.

        In the order in which it leaves the servos; `Reply.late_s` can turn that round.
        """
        if not self._running and not self._kept_back:
            return self.bank.handle(packet, now_s, baud_hz)
        self.advance(now_s)
        replies: list[Reply] = []
        if any(running.hits_echo(packet) for running in self._running):
            replies.append(Reply(0.0, packet))
        delay_s = 0.0
        for request in self.bank.requests(packet, now_s):
            made = self._answer(request, now_s, baud_hz, delay_s)
            delay_s = made[-1].delay_s if made else delay_s
            replies += self._spoiled(made, request, baud_hz)
        return replies

    def _answer(self, request: Request, now_s: float, baud_hz: int, start_s: float) -> list[Reply]:
        deaf = {
            place
            for running in self._running
            if running.fault.kind == "deaf"
            for place in running.fault.servos
            if running.hits(place, request)
        }
        return self.bank.answer(request, now_s, baud_hz, start_s=start_s, deaf=deaf)

    def _spoiled(self, made: list[Reply], request: Request, baud_hz: int) -> list[Reply]:
        """Return what arrives of one request's replies, what was kept back before it first."""
        if not made:
            return []
        byte_s = BITS_A_BYTE / max(baud_hz, 1)
        arriving = [Reply(byte_s * len(old.data), old.data) for old in self._kept_back]
        self._kept_back.clear()
        late_s = 0.0
        for reply in made:
            data: bytes | None = reply.data
            for running in self._running:
                if data is None or running.fault.kind not in _OF_REPLIES:
                    continue
                if not running.hits(reply.servo, request):
                    continue
                match running.fault.kind:
                    case "drop" | "mute":
                        data = None
                    case "stale":
                        self._kept_back.append(dataclasses.replace(reply, data=data))
                        data = None
                    case "delay":
                        asked_s = running.fault.delay_s
                        late_s = max(late_s, DELAY_S if asked_s is None else asked_s)
                    case _:
                        data = spoil(data, running.fault, request, running.dice)
            if data:
                arriving.append(dataclasses.replace(reply, data=data, late_s=late_s))
        return arriving


_OF_REPLIES = frozenset(
    {"drop", "mute", "stale", "delay", "flip", "insert", "lose", "truncate", "length", "error"}
)


class _Running:
    """One fault: waiting, on, or over."""

    def __init__(self, fault: Fault, bank: ServoBank) -> None:
        self.fault = fault
        self.dice = Random(fault.seed)
        self.is_on = False
        self.is_over = False
        self._effect = servo_effect(bank, fault)
        self._begin_s: float | None = None
        self._wanted = bytes.fromhex(fault.request_hex)
        self._to_pass = fault.after_packets
        self._left = fault.count if KINDS[fault.kind].is_packets else None

    def advance(self, now_s: float, elapsed_s: float) -> None:
        """Begin, go on, end."""
        if self._begin_s is None:
            self._begin_s = now_s + self.fault.after_s
            elapsed_s = 0.0
        if not self.is_on and now_s >= self._begin_s:
            self.is_on = True
            elapsed_s = now_s - self._begin_s
            if self._effect is not None:
                self._effect.begin()
        if self.is_on:
            if self._effect is not None:
                self._effect.go_on(elapsed_s)
            if self._left == 0 or now_s >= self._begin_s + self.fault.lasts_s:
                self.stop()

    def stop(self) -> None:
        """End it."""
        if self.is_on and self._effect is not None:
            self._effect.end()
        self.is_on = False
        self.is_over = True

    def hits(self, place: int, request: Request) -> bool:
        """Tell whether the fault hits this servo's part in this request; counts and draws."""
        fault = self.fault
        if not self.is_on or place not in fault.servos:
            return False
        if self._wanted and self._wanted not in request.data:
            return False
        return self._draw()

    def hits_echo(self, packet: bytes) -> bool:
        """Tell whether the adapter returns these bytes."""
        if self.fault.kind != "echo" or not self.is_on or self._wanted not in packet:
            return False
        return self._draw()

    def _draw(self) -> bool:
        if self._left == 0:
            return False
        if self._to_pass > 0:
            self._to_pass -= 1
            return False
        if self.fault.probability < 1.0 and self.dice.random() >= self.fault.probability:
            return False
        if self._left is not None:
            self._left -= 1
        return True
