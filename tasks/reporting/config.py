"""How much the report shows."""

from __future__ import annotations

from pydantic import Field

from tasks.config import StageConfig


class ReportingConfig(StageConfig):
    """The report's title and lengths. What it says comes from the artefacts alone."""

    title: str = Field(
        "What was trained, on what, and how good it is",
        min_length=1,
        max_length=200,
        description="First line.",
    )
    rows_shown: int = Field(
        40, ge=1, le=1000, description="Longest table; the rest is counted in its last row."
    )
    samples_shown: int = Field(8, ge=0, le=100, description="Continuations by the model to show at most.")
    sample_characters: int = Field(600, ge=10, le=2000, description="Characters of a continuation at most.")
    steps_shown: int = Field(6, ge=0, le=50, description="Steps of generation to show with their candidates.")
    neighbours_shown: int = Field(6, ge=0, le=50, description="Nearest words of a probe word to show.")
    examples_shown: int = Field(
        8, ge=0, le=100, description="Examples of each kind to show of an examination."
    )
    pieces_shown: int = Field(
        400, ge=1, le=2000, description="Pieces of a text to colour by what each contributed."
    )
    picture_dpi: int = Field(110, ge=50, le=300, description="Resolution of the pictures, in dots per inch.")
