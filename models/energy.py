"""Time, CPU time and energy of a piece of work: the machine's counters where they can be read, else an estimate."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

RAPL, ESTIMATE = "rapl", "cpu_time_x_tdp_estimate"
JOULES_PER_KILOWATT_HOUR = 3.6e6
_RAPL = Path("/sys/class/powercap")


class Spent(NamedTuple):
    """What a piece of work took; ``joules`` is None where no counter can be read."""

    seconds: float
    cpu_seconds: float
    joules: float | None


class Reading(NamedTuple):
    """The clocks and the counter at one moment."""

    clock: float
    cpu: float
    joules: float | None

    @classmethod
    def now(cls) -> Reading:
        """Read them all."""
        return cls(time.perf_counter(), time.process_time(), _joules())

    def since(self, before: Reading) -> Spent:
        """What went by between two readings. The counter wraps around every so often; such a reading is none."""
        known = before.joules is not None and self.joules is not None and self.joules >= before.joules
        joules = (self.joules or 0.0) - (before.joules or 0.0) if known else None
        return Spent(self.clock - before.clock, self.cpu - before.cpu, joules)


def timed(work: Callable[[], object]) -> Spent:
    """Do some work and tell what it took of the clock, of this process's cores, and of the package's energy."""
    before = Reading.now()
    work()
    return Reading.now().since(before)


def energy(spent: Spent, watts_per_core: float) -> tuple[str, float]:
    """The method's name and the joules: the machine's counter, or CPU seconds times an assumed power.

    The counter counts everything on the machine; the estimate knows this process only.
    """
    if spent.joules:
        return RAPL, spent.joules
    return ESTIMATE, spent.cpu_seconds * watts_per_core


def _joules() -> float | None:
    """The energy counters of all CPU packages together; None where there are none or they may not be read."""
    zones = [zone for zone in sorted(_RAPL.glob("intel-rapl:*")) if zone.name.count(":") == 1]
    try:
        readings = [int((zone / "energy_uj").read_text()) for zone in zones]
    except (OSError, ValueError):
        return None
    return sum(readings) / 1e6 if readings else None
