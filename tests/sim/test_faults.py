"""Faults as data: what a person may write, what is refused and with which sentence."""

import msgspec
import pytest

from robot.errors import ConfigError
from sim.faults import KINDS, Fault, FaultKind, fault_help, parse_fault, valid_keys


@pytest.mark.parametrize(
    ("text", "arm", "fault"),
    [
        ("drop", "follower", Fault("drop")),
        ("overload servo=6 after=3", "follower", Fault("overload", servo=6, after_s=3.0)),
        (
            "overload servo=6 forced=true count=1",
            "follower",
            Fault("overload", servo=6, is_forced=True, count=1),
        ),
        ("mute arm=leader servo=all duration=0.5", "leader", Fault("mute", duration_s=0.5)),
        (
            "flip at=5 bit=0 probability=0.25 seed=9",
            "follower",
            Fault("flip", at=5, bit=0, probability=0.25, seed=9),
        ),
        (
            "deaf request=fe04032800 after_packets=2",
            "follower",
            Fault("deaf", request_hex="fe04032800", after_packets=2),
        ),
        ("voltage supply=3.9", "follower", Fault("voltage", supply_v=3.9)),
        ("baud baud_hz=115200", "follower", Fault("baud", baud_hz=115_200)),
    ],
)
def test_reads_what_a_person_types(text: str, arm: str, fault: Fault) -> None:
    assert parse_fault(text) == (arm, fault)
    assert parse_fault(str(fault))[1] == fault


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "there is no fault ''; faults are drop, delay, "),
        ("explode", "there is no fault 'explode'; faults are drop"),
        ("drop servo", "'servo' means nothing here; 'drop' has arm=leader or arm=follower, and"),
        ("drop celsius=3", "'celsius=3' means nothing here"),
        ("drop arm=both", "'arm=both' means nothing here; 'drop' has arm=leader or arm=follower"),
        ("unplug servo=1", "'servo=1' means nothing here; 'unplug' has arm=leader"),
        ("overheat count=1", "'count=1' means nothing here"),
        ("drop servo=7", "servo is 7; it must be 1 to 6"),
        ("drop servo=x", "servo"),
        ("flip bit=8", "bit is 8; it must be 0 to 7"),
        ("drop probability=1.5", "probability is 1.5; it must be 0 to 1"),
        ("drop after=-1", "after_s is -1.0; it must be 0 to"),
        ("drop after=nan", "after_s is nan"),
        ("deaf request=xyz", "request_hex is 'xyz'; it must be bytes in hexadecimal"),
        ("duplicate servo=2 other=2", "other is 2, the servo itself"),
        ("overload count=1", "'overload' has a count only with is_forced=true"),
        ("duplicate other=2", "'duplicate' needs servo"),
    ],
)
def test_refuses_with_what_would_be_valid(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_fault(text)

    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parameter_of_another_kind_is_refused_in_code_and_from_a_message() -> None:
    with pytest.raises(ValueError, match=r"'drop' has no celsius; it has servo, after_s"):
        Fault("drop", celsius=80.0)
    with pytest.raises(msgspec.ValidationError, match="'drop' has no celsius"):
        msgspec.json.decode(b'{"kind": "drop", "celsius": 80.0}', type=Fault)
    with pytest.raises(ValueError, match="there is no fault 'x'"):
        Fault("x")  # type: ignore[arg-type]


def test_help_names_every_kind_and_its_parameters() -> None:
    words = fault_help()

    for kind, info in KINDS.items():
        assert f"\n\n{kind}{'*' if info.is_packets else ''}: " in words
        assert all(f"{key}=" in words for key in info.parameters)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_travels_as_json(kind: FaultKind) -> None:
    servo = 3 if "servo" in valid_keys(kind) else None
    fault = Fault(kind, servo=servo, after_s=1.5, duration_s=2.0)

    assert msgspec.json.decode(msgspec.json.encode(fault), type=Fault) == fault
    assert parse_fault(str(fault)) == ("follower", fault)


def test_a_brownout_is_short_and_all_else_lasts() -> None:
    assert Fault("brownout").lasts_s == 0.3
    assert Fault("brownout", duration_s=2.0).lasts_s == 2.0
    assert Fault("unplug").lasts_s == float("inf")
