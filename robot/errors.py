"""Every error of this project, in one tree, split by what the caller can do about it.

    So101Error
    ├── ConfigError             fix the file or the command line
    │   └── UnsupportedSchema   file written by a newer version, or with unknown keys
    ├── NotConnected            fix the cable, the power or the path
    │   ├── PortBusy            another program holds the port
    │   ├── NoPermission        the user may not open the device
    │   └── CameraMissing       a camera that is not there, or gives no first picture; a CameraLost
    ├── ServoTimeout            a servo did not answer (retried, counted, then raised)
    │   └── JointLost           a driven joint cannot be heard or trusted: no walk to rest, sink
    ├── ServoFault              a servo reports a fault: stop, name the joint and the bit
    ├── CalibrationMismatch     recalibrate, or plug the right arm in
    ├── LimitRefused            a goal was refused and not sent
    ├── ControlLost             the control process ended, or let go of its own accord
    ├── CameraLost              a camera stopped delivering
    ├── PolicyFailed            the policy process died, hung, or gives no plans
    └── StorageFull             free some disk, then resume

A message says what happened, to which joint or file, and what to do next.
"""


class So101Error(Exception):
    """Root of all errors a person may see; `str()` is the sentence to print."""


class ConfigError(So101Error):
    """A file or an argument is wrong; the message names it and what would be valid."""


class UnsupportedSchema(ConfigError):
    """A file carries a schema this version does not read."""


class NotConnected(So101Error):
    """A device is not there, or went away."""


class PortBusy(NotConnected):
    """Another program holds the serial port."""


class NoPermission(NotConnected):
    """The user may not open the device."""


class ServoTimeout(So101Error):
    """A servo gave no complete reply within its deadline."""


class JointLost(ServoTimeout):
    """A driven joint cannot be heard any more, or its encoder cannot be trusted.

    Nobody knows where the arm is then: it cannot walk to rest.
    """


class ServoFault(So101Error):
    """A servo reported a fault bit that makes it unsafe to go on."""


class CalibrationMismatch(So101Error):
    """The servos' own values and the calibration file disagree."""


class LimitRefused(So101Error):
    """A goal lay outside what may be sent, and was not sent."""


class ControlLost(So101Error):
    """The control process ended, hangs, or stopped a drive because session or guard were gone.

    Where it ended, the message carries the guard's verdict on the arm.
    """


class CameraLost(So101Error):
    """A camera stopped delivering frames."""


class CameraMissing(NotConnected, CameraLost):
    """A camera cannot be opened, or never delivered a picture: nothing had begun."""


class PolicyFailed(So101Error):
    """The policy ended, hangs, or gives no plans; the arm is held, then released."""


class StorageFull(So101Error):
    """The disk is full; what was finished before is kept."""
