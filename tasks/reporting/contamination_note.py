"""How much of an evaluation set stood in the corpus, said beside the scores on it."""

from __future__ import annotations

from tasks.reporting.sources import Evidence


def contamination(evidence: Evidence, suite: str) -> list[str]:
    """Sentences on one suite's texts and the training text; none when its set was not looked for."""
    found = evidence.summary("cleaning").get("contamination", {}).get(suite.replace("_", "-"))
    if not found or not found["texts"]:
        return []
    told = [f"Contamination: none of its {found['texts']:,} held-out texts stood in the corpus."]
    if found["found"]:
        told = [
            f"Contamination: of its {found['texts']:,} held-out texts {found['found']:,} stood in the corpus, in",
            f"{found['documents']:,} documents, all of which were removed before training.",
        ]
    if found["short"]:
        told.append(
            f"{found['short']:,} of the texts are too short to be looked for but as a whole document."
        )
    return told
