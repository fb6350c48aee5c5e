"""What can go wrong on a servo bus, as data: one struct for tests, the control socket and a person.

`Fault("drop", servo=3, after_s=2.0)` in a test is `drop servo=3 after=2` on the command line. What
each kind does is in `KINDS`, which is also the text of `so101 twin --help`; how it is done is in
`fault_packets.py` (bytes) and `fault_servos.py` (servos). Figures and where they come from:
docs/provenance.md.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import msgspec

from robot.errors import ConfigError
from robot.joints import SERVO_IDS

ArmName = Literal["leader", "follower"]
FaultKind = Literal[
    "drop", "delay", "stale", "flip", "insert", "lose", "truncate", "length", "error", "deaf",
    "echo", "mute", "duplicate", "baud", "overload", "overheat", "push", "voltage", "brownout",
    "unplug",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of fault does, and what may be said about it."""

    summary: str
    parameters: tuple[str, ...] = ()
    is_packets: bool = False  # hits single packets: may have a count, a probability, a request
    is_servo: bool = True  # may be of one servo


KINDS: dict[FaultKind, Kind] = {
    "drop": Kind("a reply never arrives", is_packets=True),
    "delay": Kind(
        "a reply, and those behind it, arrive delay_s later (default 0.06)",
        ("delay_s",),
        is_packets=True,
    ),
    "stale": Kind(
        "a reply is kept back and arrives behind the next request, before its own replies",
        is_packets=True,
    ),
    "flip": Kind(
        "a bit of a reply is inverted: `bit` (0..7) of the byte `at`; random if not given",
        ("at", "bit"),
        is_packets=True,
    ),
    "insert": Kind(
        "a byte more in a reply: `value` (0..255) before the byte `at`; random if not given",
        ("at", "value"),
        is_packets=True,
    ),
    "lose": Kind(
        "a byte less in a reply: the byte `at`; random if not given", ("at",), is_packets=True
    ),
    "truncate": Kind(
        "a reply ends after `at` bytes; random if not given", ("at",), is_packets=True
    ),
    "length": Kind(
        "a reply's length byte says `value` (default 40); with is_well_formed=true the reply is "
        "a valid one of that length",
        ("value", "is_well_formed"),
        is_packets=True,
    ),
    "error": Kind(
        "a reply's error byte, and register 65 in it, show error_bits besides their own (1 "
        "voltage, 2 encoder, 4 temperature, 8 current, 32 overload; default 32)",
        ("error_bits",),
        is_packets=True,
    ),
    "deaf": Kind("a request is not heard, so neither obeyed nor answered", is_packets=True),
    "echo": Kind("the adapter returns each request's bytes", is_packets=True, is_servo=False),
    "mute": Kind("a servo hears and obeys, and never answers"),
    "duplicate": Kind(
        "the servo at `other` (default: the next) has this servo's id too: both answer at once",
        ("other",),
    ),
    "baud": Kind("a servo listens at baud_hz (default 500000) alone", ("baud_hz",)),
    "overload": Kind(
        "a jammed gear: the servo needs load_pct (default 100) of its output while torque is on, "
        "so that its own protection trips; with is_forced=true the latch is set at once",
        ("load_pct", "is_forced"),
    ),
    "overheat": Kind(
        "the servo warms by celsius_per_s (default 5) up to `celsius` (default 80); then it cools "
        "by itself, within minutes",
        ("celsius", "celsius_per_s"),
    ),
    "push": Kind(
        "something turns the joint with torque_nm (default 1.5; the sign is the direction)",
        ("torque_nm",),
    ),
    "voltage": Kind("the supply is supply_v (default 3.8)", ("supply_v",)),
    "brownout": Kind(
        "the supply fails for duration_s (default 0.3): silence, then back with torque 0, the "
        "RAM's defaults, unsaved EEPROM lost and goal := present",
    ),
    "unplug": Kind(
        "the USB adapter is pulled; after duration_s it is back, under a new path", is_servo=False
    ),
}
_DEFAULT_DURATION_S: dict[FaultKind, float] = {"brownout": 0.3}
_SCOPE = ("servo", "after_s", "duration_s")
_PACKET_SCOPE = ("after_packets", "count", "probability", "seed", "request_hex")


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault of one arm: what, of which servo, when, how often, and its parameters.

    Raises ValueError where a value is out of range or means nothing for its kind.
    """

    kind: FaultKind
    servo: int | None = None  # place on the arm, 1..6; None: each of the six
    after_s: float = 0.0  # from when it is added
    duration_s: float | None = None  # None: for ever, or the kind's own default
    # Of single packets (`Kind.is_packets`), counted from `after_s` on:
    after_packets: int = 0  # leave that many alone first
    count: int | None = None  # hit so many at most; of a forced overload: set it so often
    probability: float = 1.0  # of each packet, drawn from `seed`
    seed: int = 0
    request_hex: str = ""  # only requests that contain these bytes, and the replies to them
    # Of some kinds, see KINDS:
    delay_s: float | None = None
    at: int | None = None
    bit: int | None = None
    value: int | None = None
    is_well_formed: bool | None = None
    error_bits: int | None = None
    other: int | None = None
    baud_hz: int | None = None
    load_pct: float | None = None
    is_forced: bool | None = None
    celsius: float | None = None
    celsius_per_s: float | None = None
    torque_nm: float | None = None
    supply_v: float | None = None

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        kind = KINDS.get(self.kind)
        if kind is None:  # not from a file: there msgspec has looked already
            raise ValueError(f"there is no fault '{self.kind}'; faults are {', '.join(KINDS)}")
        allowed = set(valid_keys(self.kind)) | {"kind"}
        for name, default in _DEFAULTS.items():
            if name not in allowed and getattr(self, name) != default:
                raise ValueError(
                    f"'{self.kind}' has no {name}; it has {', '.join(valid_keys(self.kind))}"
                )
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:  # a nan, too
                raise ValueError(f"{name} is {value}; it must be {low:g} to {high:g}")
        try:
            bytes.fromhex(self.request_hex)
        except ValueError as error:
            raise ValueError(
                f"request_hex is '{self.request_hex}'; it must be bytes in hexadecimal"
            ) from error
        if self.kind == "duplicate" and self.servo is None:
            raise ValueError("'duplicate' needs servo, whose id another one has too")
        if self.kind == "overload" and self.count is not None and not self.is_forced:
            raise ValueError("'overload' has a count only with is_forced=true")
        if self.other is not None and self.other == self.servo:
            raise ValueError(f"other is {self.other}, the servo itself; name another one")

    @property
    def lasts_s(self) -> float:
        """How long it lasts once begun; infinite where nothing was said."""
        if self.duration_s is not None:
            return self.duration_s
        return _DEFAULT_DURATION_S.get(self.kind, float("inf"))

    @property
    def servos(self) -> tuple[int, ...]:
        """Places of the servos that have it."""
        return SERVO_IDS if self.servo is None else (self.servo,)

    def __str__(self) -> str:
        """Write it as a person types it."""
        words: list[str] = [self.kind]
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value != default:
                text = str(value).lower() if isinstance(value, bool) else f"{value}"
                words.append(f"{name}={text}")
        return " ".join(words)


_DEFAULTS: dict[str, object] = {
    field.name: field.default for field in msgspec.structs.fields(Fault) if field.name != "kind"
}
_RANGES: dict[str, tuple[float, float]] = {
    "servo": (SERVO_IDS[0], SERVO_IDS[-1]),
    "other": (SERVO_IDS[0], SERVO_IDS[-1]),
    "after_s": (0.0, 1e6),
    "duration_s": (0.0, 1e6),
    "after_packets": (0, 10**9),
    "count": (1, 10**9),
    "probability": (0.0, 1.0),
    "delay_s": (0.0, 60.0),
    "at": (0, 255),
    "bit": (0, 7),
    "value": (0, 255),
    "error_bits": (0, 127),
    "baud_hz": (38_400, 1_000_000),
    "load_pct": (0.0, 100.0),
    "celsius": (0.0, 150.0),
    "celsius_per_s": (0.0, 1000.0),
    "torque_nm": (-10.0, 10.0),
    "supply_v": (0.0, 20.0),
}


def valid_keys(kind: FaultKind) -> tuple[str, ...]:
    """Return what may be said about a kind, by the names of `Fault`."""
    info = KINDS[kind]
    scope: tuple[str, ...] = _SCOPE if info.is_servo else _SCOPE[1:]
    if info.is_packets:
        scope += _PACKET_SCOPE
    elif kind == "overload":
        scope += ("count",)
    return scope + info.parameters


def fault_help() -> str:
    """Return what a person may type, a kind a paragraph."""
    lines = [
        'Faults, for --fault "KIND key=value ...": of the follower, or with arm=leader of the '
        "leader; of one servo with servo=1 to 6, else of all; from after=SECONDS on; for "
        "duration=SECONDS, else for ever. Those marked * hit single packets, and may be told "
        "after_packets=, count=, probability= (drawn from seed=) and request= (bytes in "
        "hexadecimal that the request must contain)."
    ]
    for name, kind in KINDS.items():
        words = [f"{name}{'*' if kind.is_packets else ''}: {kind.summary}"]
        if kind.parameters:
            words.append(f"[{', '.join(f'{key}=' for key in kind.parameters)}]")
        lines.append(" ".join(words))
    return "\n\n".join(lines)


def parse_fault(text: str) -> tuple[ArmName, Fault]:
    """Read `KIND key=value ...`; return the arm (`arm=leader`, else the follower) and the fault.

    Keys are those of `Fault`, with or without their unit: `after=3` is `after_s=3`, `forced=true`
    is `is_forced=true`.

    Raises:
        ConfigError: no such kind, key or value; says what would be valid.
    """
    kind, *pairs = text.split() or [""]
    if kind not in KINDS:
        raise ConfigError(f"there is no fault '{kind}'; faults are {', '.join(KINDS)}")
    (known,) = (name for name in get_args(FaultKind) if name == kind)
    keys = {short: name for name in valid_keys(known) for short in (name, _short(name))}
    arm: ArmName = "follower"
    values: dict[str, str] = {"kind": kind}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key == "arm" and value in ("leader", "follower"):
            arm = "leader" if value == "leader" else "follower"
        elif key in keys and value:
            values[keys[key]] = value
        else:
            raise ConfigError(
                f"fault '{text}': '{pair}' means nothing here; "
                f"'{kind}' has arm=leader or arm=follower, and {', '.join(valid_keys(known))}, "
                "each with =VALUE"
            )
    if values.get("servo") == "all":
        del values["servo"]
    try:
        return arm, msgspec.convert(values, Fault, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"fault '{text}': {error}") from error


def _short(name: str) -> str:
    name = name.removeprefix("is_")
    stem, _, unit = name.rpartition("_")
    return stem if unit in ("s", "v", "hz", "nm", "pct", "hex") and stem else name
