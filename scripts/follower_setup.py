"""The follower of a virtual twin, configured before anything is measured on it.

The first program that opens an arm after another one changed it writes the servos' EEPROM, which
takes time on the bus; the ones after it find nothing to write. Where several processes share the
work, that first time must come before all of them, or the result would depend on who was first.
"""

from pathlib import Path

from scripts.rig_session import open_rig


def configure_virtual_follower(rig: Path) -> None:
    """Open the follower once; its EEPROM is kept when the rig closes.

    Raises:
        ConfigError, CalibrationMismatch: the arm is not calibrated, or anew since.
    """
    with open_rig(rig, virtual=True, with_cameras=False) as opened, opened.open_follower():
        pass
