"""What a training may take, and what it has taken over all its attempts.

Neither belongs to what a training learns: a cap can be raised and the training goes on, bit for bit. What was
spent lies beside the checkpoints, not in them, because a process that is killed before its first checkpoint
has spent something too.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from models.energy import JOULES_PER_KILOWATT_HOUR

SPENT = "spent.json"


class BudgetConfig(BaseModel):
    """Caps of one training (the pretraining, and each fine-tuning by itself), and what energy and hours cost."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    minutes: float | None = Field(
        None, gt=0.0, le=1e8, description="Cap: minutes by the clock, validation and checkpoints included."
    )
    flops: float | None = Field(None, gt=0.0, le=1e30, description="Cap: floating-point operations.")
    kilowatt_hours: float | None = Field(None, gt=0.0, le=1e12, description="Cap: energy in kWh.")
    amount: float | None = Field(None, gt=0.0, le=1e12, description="Cap: cost in `currency`.")
    currency: str = Field("EUR", pattern=r"^[A-Z]{3}$", description="What prices and costs are in.")
    price_per_kilowatt_hour: float = Field(
        0.3,
        ge=0.0,
        le=1e6,
        description="Price of a kWh; the default is an assumption, a European household's.",
    )
    price_per_hour: float = Field(
        0.0, ge=0.0, le=1e9, description="Rent of the machine for an hour by the clock; 0 for one's own."
    )
    watts_per_core: float = Field(
        10.0, gt=0.0, le=1000.0, description="Power of one busy core where no counter (RAPL) can be read."
    )
    watts_per_gpu: float = Field(
        400.0, ge=0.0, le=10_000.0, description="Power of a GPU at work, which is assumed and never read."
    )

    @property
    def capped(self) -> bool:
        """Whether there is any cap."""
        return any(cap is not None for cap in (self.minutes, self.flops, self.kilowatt_hours, self.amount))

    def price(self, seconds: float, joules: float) -> float:
        """What so much time and energy cost, in `currency`."""
        hours, kilowatt_hours = seconds / 3600.0, joules / JOULES_PER_KILOWATT_HOUR
        return hours * self.price_per_hour + kilowatt_hours * self.price_per_kilowatt_hour


class BudgetError(RuntimeError):
    """A training reached one of its caps; it is saved and goes on when the cap is raised."""

    def __init__(self, cap: str, problem: str) -> None:
        """Name the cap as it is called in the configuration, and say how far the training got."""
        self.cap, self.problem = cap, problem
        super().__init__(f"{cap}: {problem}")


@dataclass(frozen=True)
class Spending:
    """What a training took so far, all its attempts together."""

    seconds: float = 0.0
    flops: float = 0.0
    joules: float = 0.0

    def plus(self, seconds: float, flops: float, joules: float) -> Spending:
        """Add what one more step took."""
        return Spending(self.seconds + seconds, self.flops + flops, self.joules + joules)

    @property
    def kilowatt_hours(self) -> float:
        """The energy in kWh."""
        return self.joules / JOULES_PER_KILOWATT_HOUR

    def told(self, budget: BudgetConfig) -> str:
        """All of it in words."""
        cost = budget.price(self.seconds, self.joules)
        return (
            f"{self.seconds / 60:.2f} minutes, {self.flops:.3g} FLOP, {self.kilowatt_hours:.3g} kWh, "
            f"{cost:.3g} {budget.currency}"
        )

    def reached(self, budget: BudgetConfig) -> str | None:
        """The first cap that is used up, by its name in the configuration."""
        used = {
            "minutes": self.seconds / 60.0,
            "flops": self.flops,
            "kilowatt_hours": self.kilowatt_hours,
            "amount": budget.price(self.seconds, self.joules),
        }
        caps = {name: getattr(budget, name) for name in used}
        return next((name for name, cap in caps.items() if cap is not None and used[name] >= cap), None)

    @classmethod
    def read(cls, folder: Path) -> Spending:
        """What former attempts wrote; nothing spent where there is no such file or it cannot be read."""
        try:
            values = json.loads((folder / SPENT).read_text(encoding="utf-8"))
            return cls(*(float(values[name]) for name in ("seconds", "flops", "joules")))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def write(self, folder: Path) -> None:
        """Write beside the checkpoints by rename, so that a reader finds the old numbers or the new ones."""
        temporary = folder / f".{SPENT}"
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        os.replace(temporary, folder / SPENT)  # noqa: PTH105 - as short as Path's own
