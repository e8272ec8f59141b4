"""How many processes train together, how they share the work, and who starts them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RanksConfig(BaseModel):
    """How a training is spread over processes. It changes how a run is carried out, not what it learns.

    Equal numbers of ranks give bitwise equal weights on equal machines. Another number sees the same samples in
    the same order, but adds them up in another: losses agree to 1e-5, not to the last digit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    number: int = Field(
        1,
        ge=0,
        le=65_536,
        description="Processes that train together; 0 starts one for each GPU of the machine.",
    )
    strategy: Literal["ddp", "fsdp"] = Field(
        "ddp",
        description="Every rank has the whole model (ddp), or its part of all weights and optimiser state (fsdp).",
    )
    launch: Literal["local", "external"] = Field(
        "local",
        description="Start the ranks on this machine, or wait for those that a cluster starts (docs/clusters.md).",
    )
    timeout_seconds: float = Field(
        600.0,
        ge=5.0,
        le=86_400.0,
        description="A rank that makes no progress for so long counts as hung, and all stop; longer than a "
        "validation or a checkpoint takes.",
    )


def refuse_uneven(batch_size: int, gradient_accumulation: int | Literal["auto"], ranks: int) -> None:
    """Check that a batch falls into equal micro-batches; the mean over unequal ones is not that of the batch.

    Raises:
        ValueError: it does not.
    """
    if batch_size % ranks:
        raise ValueError(f"batch_size ({batch_size}) must be a multiple of the number of ranks ({ranks})")
    rows = batch_size // ranks
    if gradient_accumulation == "auto":  # chosen so that it does
        return
    if rows % max(1, rows // gradient_accumulation):
        raise ValueError(
            f"the {rows} sequences of each of {ranks} ranks cannot be cut evenly by gradient_accumulation "
            f"({gradient_accumulation}); make batch_size a multiple of {ranks * gradient_accumulation}"
        )
