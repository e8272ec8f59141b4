"""How much memory there is for a training: the machine's, the container's, the GPU's."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


class Room(NamedTuple):
    """Bytes that may still be taken, and who says so."""

    bytes: int
    source: str


def available(device: torch.device) -> Room:
    """What may be taken: of a GPU its free memory, else the least that the machine or a cgroup still allows."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return Room(int(free), "free memory of the GPU")
    rooms = [Room(int(psutil.virtual_memory().available), "available memory of the machine")]
    return min([*rooms, *_of_cgroups()], key=lambda room: room.bytes)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


def _of_cgroups() -> list[Room]:
    """Limits less usage of the process's own cgroup and of all above it, versions 2 and 1."""
    found = []
    for folder in _cgroup_folders():
        for limit, usage in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            highest, used = _number(folder / limit), _number(folder / usage)
            if highest is not None and used is not None:
                free = max(0, highest - used + _reclaimable(folder))
                found.append(Room(free, f"limit of the container ({highest >> 20} MB)"))
    return found


def _cgroup_folders() -> list[Path]:
    try:
        lines = _OWN_CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    folders = [_CGROUP, _CGROUP / "memory"]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = _CGROUP if not controllers else _CGROUP / "memory"
        if not controllers or "memory" in controllers.split(","):
            own = root / path.strip("/")
            folders += [folder for folder in (own, *own.parents) if root in folder.parents]
    return folders


def _reclaimable(folder: Path) -> int:
    """Cached pages that the kernel gives back before it refuses memory."""
    try:
        lines = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    values = dict(line.split(" ", 1) for line in lines if " " in line)
    return int(values.get("inactive_file", 0))


def _number(path: Path) -> int | None:
    """The number in a file; None where there is none, or it says `max`, or as much as 2**60."""
    try:
        value = int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if value < 1 << 60 else None
