"""The version of a corpus before: the evaluation that audited another corpus and was published last before."""

from __future__ import annotations

import logging

from tasks.artifacts import MANIFEST, Artifact, verify
from tasks.errors import ArtifactError
from tasks.representation.corpus import auditable

_LOG = logging.getLogger(__name__)


def previous(evaluation: Artifact) -> Artifact | None:
    """The newest evaluation of the same name, older than this one, whose corpus was another; verified.

    Depends on the order in which artefacts were published and on nothing else, so that a rerun finds the same one.
    What was evaluated before counts of documents were kept is passed over, and so is what is damaged.
    """
    own, name = evaluation.manifest(), evaluation.path.name.rpartition("-")[0]
    siblings = [path.parent for path in evaluation.path.parent.glob("[!.]*/" + MANIFEST)]
    older = [
        (published, path)
        for path in siblings
        if path.name.rpartition("-")[0] == name
        and (published := (path / MANIFEST).stat().st_mtime_ns) < _published(evaluation)
        and auditable(path)
    ]
    for _, path in sorted(older, reverse=True):
        try:
            found = verify(path)
            if found.manifest().key["inputs"]["cleaning"] != own.key["inputs"]["cleaning"]:
                return found
        except ArtifactError as error:
            _LOG.warning("passed over as the corpus before: %s", error)
    return None


def _published(artifact: Artifact) -> int:
    return (artifact.path / MANIFEST).stat().st_mtime_ns
