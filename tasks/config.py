"""What every stage's configuration and summary have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class StageConfig(BaseModel):
    """Base of a stage's configuration: frozen, and an unknown key is an error rather than a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    def deciding(self) -> dict[str, Any]:
        """What the outcome depends on: everything, unless a stage knows better."""
        return self.model_dump(mode="json")


class Summary(BaseModel):
    """What a stage tells about its work: counts and scores, the same on every rerun.

    Numbers become MLflow metrics and everything is kept in the artefact's manifest, so a summary holds no
    timings and no paths.
    """

    model_config = ConfigDict(extra="forbid")
