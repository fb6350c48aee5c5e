"""How long an adapter's driver holds received bytes back, set to the shortest it can.

FTDI chips wait up to 16 ms for more bytes before they hand over a short packet, which limits a bus
to 60 reads a second; their driver has a timer for it, in milliseconds, and a low-latency flag.
Other adapters of SO-101 kits (CH343 on cdc_acm, CH340) have neither. Nothing here fails: what could
not be set is said, with the line that permits it.
"""

import contextlib
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

_TIOCGSERIAL = 0x541E  # Linux: get and set struct serial_struct
_TIOCSSERIAL = 0x541F
_SERIAL_STRUCT_BYTES = 72  # on 64-bit machines, 60 on 32-bit ones; the flags come early
_FLAGS = struct.Struct("@i")
_FLAGS_OFFSET = 16  # after type, line, port, irq
_ASYNC_LOW_LATENCY = 1 << 13

SHORTEST_MS = 1
UDEV_RULE = 'ACTION=="add", SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1"'


@dataclass(frozen=True, slots=True)
class LineLatency:
    """What was set, for a person, and what remains."""

    sentence: str
    latency_s: float  # how much later than on the wire a reply may be handed over


NO_SETTING = LineLatency("no latency setting on this device", 0.0)


def shorten_latency(descriptor: int, path: str, sysfs: Path = Path("/sys")) -> LineLatency:
    """Set an open device's latency timer to 1 ms and its low-latency mode, where it has them."""
    name = os.path.basename(os.path.realpath(path))
    is_low = _set_low_latency(descriptor)
    timer = sysfs / "class" / "tty" / name / "device" / "latency_timer"
    before_ms = _read_ms(timer)
    if before_ms is None:
        if is_low:
            return LineLatency(f"low-latency mode of {name} is on", 0.0)
        return NO_SETTING
    if before_ms > SHORTEST_MS:
        with contextlib.suppress(OSError):  # not ours to write: what it is now is said below
            timer.write_text(f"{SHORTEST_MS}\n")
    now_ms = _read_ms(timer)
    if now_ms is None:
        return NO_SETTING
    if now_ms <= SHORTEST_MS:
        return LineLatency(f"latency timer of {name}: {now_ms} ms", now_ms / 1000)
    return LineLatency(
        f"the latency timer of {name} stays at {now_ms} ms, so that every read waits for it; "
        f"this permits 1 ms until it is plugged in again: echo 1 | sudo tee {timer}; "
        f"and this, in /etc/udev/rules.d/99-so101.rules, always: {UDEV_RULE}",
        now_ms / 1000,
    )


def _read_ms(timer: Path) -> int | None:
    try:
        return int(timer.read_text())
    except (OSError, ValueError):
        return None


def _set_low_latency(descriptor: int) -> bool:
    """Set the driver's flag; tell whether it is set afterwards."""
    state = bytearray(_SERIAL_STRUCT_BYTES)
    try:
        fcntl.ioctl(descriptor, _TIOCGSERIAL, state)
        (flags,) = _FLAGS.unpack_from(state, _FLAGS_OFFSET)
        if not flags & _ASYNC_LOW_LATENCY:
            _FLAGS.pack_into(state, _FLAGS_OFFSET, flags | _ASYNC_LOW_LATENCY)
            fcntl.ioctl(descriptor, _TIOCSSERIAL, state)
            fcntl.ioctl(descriptor, _TIOCGSERIAL, state)
    except OSError:
        return False  # a pty, or a driver without it
    (flags,) = _FLAGS.unpack_from(state, _FLAGS_OFFSET)
    return bool(flags & _ASYNC_LOW_LATENCY)
