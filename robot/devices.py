"""Which ports and cameras there are, and what an address of the rig profile means today.

`twin:NAME` is looked up in the manifest of a running twin; anything else is a path or a stream's
address and belongs to the machine. No other code asks what kind an address is.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serial.tools import list_ports

from robot.errors import ConfigError, NoPermission, NotConnected
from robot.port import permission_remedy
from robot.rig import RigProfile
from robot.run_folder import TwinManifest, running_twins

TWIN = "twin:"


@dataclass(frozen=True, slots=True)
class PortInfo:
    """A serial port; empty strings where the system does not know."""

    path: str
    description: str = ""
    vendor_product: str = ""  # "1a86:55d3"
    serial: str = ""
    topology: str = ""  # USB path, "1-2.3"


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """A camera: the address to put into a profile, and what it is."""

    address: str
    description: str = ""


class Devices(Protocol):
    """Look addresses up."""

    def port_path(self, address: str) -> str:
        """Return the path to open for an arm's address; raises NotConnected, NoPermission."""
        ...

    def camera_address(self, address: str) -> str:
        """Return the path or stream to open for a camera; raises NotConnected, NoPermission."""
        ...

    def ports(self) -> list[PortInfo]:
        """List the serial ports that are there."""
        ...

    def cameras(self) -> list[CameraInfo]:
        """List the cameras that are there."""
        ...


class SystemDevices:
    """The machine's own ports and cameras."""

    def __init__(self, by_path: Path = Path("/dev/v4l/by-path")) -> None:
        self._by_path = by_path

    def port_path(self, address: str) -> str:
        """Check that the port is there and may be opened."""
        if address.startswith(TWIN):
            raise _not_running(address)
        known = [f"{port.path} ({port.description})" for port in self.ports()]
        _check_device(
            address, "serial port", known, "plug the arm's USB cable in, or correct `port`"
        )
        return address

    def camera_address(self, address: str) -> str:
        """Check that a device is there and may be opened; pass a stream's address on as it is."""
        if address.startswith(TWIN):
            raise _not_running(address)
        if address.startswith("http://"):
            return address
        known = [camera.address for camera in self.cameras()]
        _check_device(address, "camera", known, "plug the camera in, or correct `address`")
        return address

    def ports(self) -> list[PortInfo]:
        """List USB serial ports (legacy ttyS ports, which have no USB vendor, are left out)."""
        return [
            PortInfo(
                path=port.device,
                description=port.description or "",
                vendor_product=f"{port.vid:04x}:{port.pid:04x}",
                serial=port.serial_number or "",
                topology=port.location or "",
            )
            for port in sorted(list_ports.comports(), key=lambda port: port.device)
            if port.vid is not None and port.pid is not None
        ]

    def cameras(self) -> list[CameraInfo]:
        """List capture devices by their place on the bus: video numbers change at restart."""
        if not self._by_path.is_dir():
            return []
        return [
            CameraInfo(str(link), f"now {link.resolve()}")
            for link in sorted(self._by_path.iterdir())
            if link.name.endswith("-video-index0")  # index1 of the same camera is its metadata node
        ]


class TwinDevices:
    """The devices of one running twin, and the machine's for every other address.

    Ports are looked up anew each time: an adapter that was pulled comes back under another path.
    """

    def __init__(self, manifest: TwinManifest, system: Devices) -> None:
        self._manifest = manifest
        self._system = system

    def port_path(self, address: str) -> str:
        """Look an arm up in the manifest; raises NotConnected while it is unplugged, too."""
        if not address.startswith(TWIN):
            return self._system.port_path(address)
        manifest = self._present()
        if manifest is None:
            raise NotConnected(
                f"the twin of the rig '{self._manifest.rig}' has ended; "
                "start it again in another terminal with: so101 twin"
            )
        ports = {"leader": manifest.leader.port, "follower": manifest.follower.port}
        path = _look_up(address, ports, "arms")
        if not path:
            raise NotConnected(
                f"the twin's {address.removeprefix(TWIN)} is unplugged; plug it in again"
            )
        return path

    def camera_address(self, address: str) -> str:
        """Look a camera up in the manifest; the answer is its stream with capture times."""
        if not address.startswith(TWIN):
            return self._system.camera_address(address)
        streams = {name: entry.http for name, entry in self._manifest.cameras.items()}
        return _look_up(address, streams, "cameras")

    def ports(self) -> list[PortInfo]:
        """List the twin's ports that are plugged in, then the machine's."""
        manifest = self._present()
        arms = [("leader", manifest.leader), ("follower", manifest.follower)] if manifest else []
        mine = [
            PortInfo(entry.port, f"{arm} of twin '{self._manifest.rig}'")
            for arm, entry in arms
            if entry.port
        ]
        return mine + self._system.ports()

    def cameras(self) -> list[CameraInfo]:
        """List the twin's cameras, then the machine's."""
        mine = [
            CameraInfo(entry.http, f"{name} camera of twin '{self._manifest.rig}'")
            for name, entry in self._manifest.cameras.items()
        ]
        return mine + self._system.cameras()

    def _present(self) -> TwinManifest | None:
        """Return the manifest as it is now; None when the twin has ended."""
        mine = self._manifest.pid, self._manifest.control
        return next((m for m in running_twins() if (m.pid, m.control) == mine), None)


def uses_twin(profile: RigProfile) -> bool:
    """Tell whether a profile has any `twin:` address, so that a twin must run."""
    addresses = [profile.leader.port, profile.follower.port]
    addresses += [camera.address for camera in profile.cameras.values()]
    return any(address.startswith(TWIN) for address in addresses)


def open_devices(profile: RigProfile, twin_pid: int | None = None) -> Devices:
    """Return the devices that a profile's addresses refer to.

    Args:
        profile: the rig; its name chooses among running twins.
        twin_pid: process of the twin to use, where several of one name may run.

    Raises:
        NotConnected: a twin is asked for and none of that name runs.
        ConfigError: several of that name run and none was chosen.
    """
    system = SystemDevices()
    if not uses_twin(profile):
        return system
    running = running_twins()
    mine = [m for m in running if m.rig == profile.name and twin_pid in (None, m.pid)]
    if not mine:
        others = sorted({f"'{manifest.rig}'" for manifest in running})
        also = f" (running: {', '.join(others)})" if others else ""
        raise NotConnected(
            f"no twin of the rig '{profile.name}' is running{also}; "
            "start it in another terminal with: so101 twin"
        )
    if len(mine) > 1:
        pids = ", ".join(str(manifest.pid) for manifest in mine)
        raise ConfigError(
            f"{len(mine)} twins of the rig '{profile.name}' are running (process ids {pids}); "
            "stop all but one, or give each its own profile with another `name`"
        )
    return TwinDevices(mine[0], system)


def _look_up(address: str, known: dict[str, str], what: str) -> str:
    name = address.removeprefix(TWIN)
    if name not in known:
        raise ConfigError(
            f"the running twin has no '{name}'; "
            f"its {what} are {', '.join(sorted(known)) or 'none'}; "
            f"correct the address '{address}' in the profile"
        )
    return known[name]


def _not_running(address: str) -> NotConnected:
    return NotConnected(
        f"'{address}' needs a running twin; start one in another terminal with: so101 twin"
    )


def _check_device(address: str, kind: str, known: Sequence[str], remedy: str) -> None:
    """Raise the sentence that says why a device cannot be opened."""
    there = f"there is: {', '.join(known)}" if known else f"no {kind} is plugged in"
    try:
        found = os.stat(address)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotConnected(
            f"{kind} {address} does not exist ({there}); {remedy} in the profile"
        ) from error
    except PermissionError as error:
        raise NoPermission(
            f"{kind} {address} is in a folder you may not enter; ask who set this machine up"
        ) from error
    if not stat.S_ISCHR(found.st_mode):
        raise NotConnected(
            f"{address} is no {kind} but an ordinary file ({there}); {remedy} in the profile"
        )
    if not os.access(address, os.R_OK | os.W_OK):
        raise NoPermission(f"you may not open the {kind} {address}; {permission_remedy(address)}")
