"""The model registry: which version is the champion, and how that changes without a moment of doubt.

Three aliases on one registered model: ``champion`` answers, ``previous`` waits for a rollback, ``challenger``
is the newest candidate. A change of hands is written down first (a tag on the registered model), then done,
then struck out: whoever comes after a killed process finishes what it began. The champion's alias is only
ever moved, never taken away.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks import locks
from tasks.artifacts import Artifact, canonical_json, fingerprint_of, verify
from tasks.errors import ArtifactError, ConfigError, one_line
from tasks.serving import bundle
from tasks.tracking import Tracker

logger = logging.getLogger(__name__)

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
# What `validation_status` says of a version.
PENDING, PROMOTED, REFUSED, INCONCLUSIVE, REPLACED, ROLLED_BACK = (
    "pending",
    "promoted",
    "refused",
    "inconclusive",
    "replaced",
    "rolled_back",
)
STATUS, DECISION, REASON = "validation_status", "unveil.decision", "unveil.reason"
_CONTENT, _CONTENTS, _AGAINST, _MOVE = "unveil.content", "unveil.contents", "unveil.against", "unveil.move"
_LONGEST = 1_000
Artifacts = Mapping[str, Artifact]


@dataclass(frozen=True)
class Version:
    """One registered version, as its tags tell."""

    number: str
    tags: Mapping[str, str]

    @property
    def status(self) -> str:
        """What became of it."""
        return self.tags.get(STATUS, PENDING)

    @property
    def content(self) -> str:
        """Digest of the models it serves."""
        return self.tags.get(_CONTENT, "")

    @property
    def against(self) -> str | None:
        """The version it was judged against; empty for the baselines, None when it was not judged."""
        return self.tags.get(_AGAINST)


@dataclass(frozen=True)
class Champion:
    """The version in use and the artefacts it came from, every byte verified."""

    version: str
    artifacts: Artifacts
    content: str


class Registry:
    """One registered model of the workspace's tracking store."""

    def __init__(self, tracker: Tracker, name: str = "unveil") -> None:
        self.tracker, self.name = tracker, name

    def champion(self) -> Champion | None:
        """The champion with its artefacts, or None while there is none.

        Raises:
            ArtifactError: an artefact of it is gone or altered.
        """
        number = self.aliases().get(CHAMPION)
        return None if number is None else self.open(number)

    def reference(self, artifacts: Artifacts) -> Champion | None:
        """Whom a candidate is to be judged against.

        The champion, or, where the candidate is the champion itself, the version that it had to beat then: the
        same question is answered by the same stored decision.

        Raises:
            ArtifactError: an artefact of that version is gone or altered.
        """
        number = self.aliases().get(CHAMPION)
        if number is None:
            return None
        version = self.version(number)
        if version.content == content_of(artifacts):
            return self.open(version.against) if version.against else None
        return self.open(number)

    def open(self, number: str) -> Champion:
        """A version with its artefacts.

        Raises:
            ArtifactError: an artefact of it is gone or altered.
        """
        version = self.version(number)
        artifacts = {}
        for stage, content in json.loads(version.tags.get(_CONTENTS, "{}")).items():
            try:
                artifact = verify(self.tracker.home / version.tags[f"unveil.{stage}"])
            except (ArtifactError, KeyError) as error:
                raise self._gone(number, stage, str(error)) from error
            if artifact.content != content:
                raise self._gone(number, stage, "another artefact lies there")
            artifacts[stage] = artifact
        if not artifacts:
            raise self._gone(number, "pretraining", "it was not registered by Unveil")
        return Champion(number, artifacts, version.content)

    def register(self, artifacts: Artifacts, run_id: str) -> Version:
        """The version of these models: the one there is, or a new one, which becomes the challenger.

        Args:
            artifacts: the candidate's, by stage; the models among them are copied into the registry.
            run_id: the MLflow run that a new version belongs to.
        """
        with self._locked():
            self._settle()
            self._make_model()
            found = self.find(artifacts)
            if found is None:
                found = self._create(artifacts, run_id)
            else:
                self._tag(found.number, self._provenance(artifacts))
            self._point(CHALLENGER, found.number)
            return self.version(found.number)

    def judge(self, number: str, status: str, why: str, against: str | None) -> None:
        """Note what was decided about a version that does not become the champion."""
        told = {STATUS: status, DECISION: status, REASON: one_line(why, _LONGEST)}
        with self._locked():
            self._settle()
            self._tag(number, told | ({} if against is None else {_AGAINST: against}))

    def promote(self, number: str, why: str, against: str | None = None) -> None:
        """Make a version the champion and the champion the previous one; nothing to do when it is already.

        Args:
            number: the version.
            why: what is noted as the reason.
            against: the version it was judged against, by default the champion.
        """
        with self._locked():
            self._settle()
            former = self.aliases().get(CHAMPION, "")
            if former == number:
                return
            told = {DECISION: "promote", REASON: why, _AGAINST: former if against is None else against}
            self._change_hands("promote", number, former, {number: {STATUS: PROMOTED, **told}}, REPLACED)

    def rollback(self, why: str) -> str:
        """Let the previous champion answer again, and keep the present one as the previous; returns its version.

        A rollback that a killed process began is finished, and no second one is made.

        Raises:
            ConfigError: there is no champion, or none before it.
        """
        with self._locked():
            if self._settle() == "rollback":
                return self.aliases()[CHAMPION]
            aliases = self.aliases()
            former, back = aliases.get(CHAMPION), aliases.get(PREVIOUS)
            if former is None or back is None or back == former:
                problem = "there is no champion" if former is None else "there is no champion before this one"
                raise ConfigError(
                    problem, where=self.name, remedy="promote a model with `unveil promote` first"
                )
            tags = {back: {STATUS: PROMOTED}, former: {DECISION: "rollback", REASON: why}}
            self._change_hands("rollback", back, former, tags, ROLLED_BACK)
            return back

    def find(self, artifacts: Artifacts) -> Version | None:
        """The version that serves exactly these models, the oldest if there were several."""
        query = f"name = '{self.name}' and tags.`{_CONTENT}` = '{content_of(artifacts)}'"
        found = self.tracker.call("search_model_versions", query)
        numbers = sorted(int(version.version) for version in found)
        return self.version(str(numbers[0])) if numbers else None

    def holding(self, stage: str, content: str) -> str | None:
        """The newest version that came from this artefact of a stage."""
        found = self.tracker.call("search_model_versions", f"name = '{self.name}'")
        contents = {int(v.version): json.loads(v.tags.get(_CONTENTS, "{}")) for v in found}
        numbers = [number for number, stages in contents.items() if stages.get(stage) == content]
        return str(max(numbers)) if numbers else None

    def version(self, number: str) -> Version:
        """One version and its tags.

        Raises:
            ArtifactError: it was deleted from the registry.
        """
        for found in self.tracker.call("search_model_versions", f"name = '{self.name}'"):
            if str(found.version) == number:
                return Version(number, dict(found.tags))
        raise self._gone(number, "entry in the registry", "it was deleted")

    def aliases(self) -> dict[str, str]:
        """Version by alias; empty before anything was registered."""
        model = self._model()
        return {} if model is None else {name: str(number) for name, number in model.aliases.items()}

    def _change_hands(
        self, what: str, to: str, former: str, tags: Mapping[str, Mapping[str, str]], status: str
    ) -> None:
        """Write down the change, then do it."""
        told = {number: dict(values) for number, values in tags.items()}
        if former:
            told.setdefault(former, {})[STATUS] = status
        move = {"what": what, "champion": to, "previous": former, "tags": told}
        shortened = _shortened(move)
        self.tracker.call("set_registered_model_tag", self.name, _MOVE, canonical_json(shortened))
        self._settle()

    def _settle(self) -> str:
        """Do what was written down and not struck out; every step may be done twice. Returns what it was."""
        model = self._model()
        written = "" if model is None else model.tags.get(_MOVE, "")
        if not written:
            return ""
        move = json.loads(written)
        # `previous` first: between the two moves a rollback finds nothing to go back to and changes nothing.
        if move["previous"]:
            self._point(PREVIOUS, move["previous"])
        self._point(CHAMPION, move["champion"])
        for number, tags in sorted(move["tags"].items()):
            self._tag(number, tags)
        self.tracker.call("delete_registered_model_tag", self.name, _MOVE)
        logger.info("%s: version %s is the champion", self.name, move["champion"])
        return str(move["what"])

    def _create(self, artifacts: Artifacts, run_id: str) -> Version:
        folder = Path(tempfile.mkdtemp(dir=self.tracker.home, prefix=".bundle-"))
        try:
            bundle.write_bundle(artifacts, folder / "bundle")
            source = self.tracker.log_model(
                run_id,
                "model",
                code=bundle.CODE,
                code_paths=bundle.CODE_PATHS,
                bundle=folder / "bundle",
                requirements=bundle.requirements(),
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        tags = {_CONTENT: content_of(artifacts), STATUS: PENDING} | self._provenance(artifacts)
        made = self.tracker.call("create_model_version", self.name, source, run_id=run_id, tags=tags)
        return self.version(str(made.version))

    def _provenance(self, artifacts: Artifacts) -> dict[str, str]:
        """Where the artefacts are, from the workspace on, and their content."""
        home = self.tracker.home
        paths = {
            f"unveil.{stage}": (
                artifact.path.relative_to(home) if artifact.path.is_relative_to(home) else artifact.path
            ).as_posix()
            for stage, artifact in artifacts.items()
        }
        return paths | {_CONTENTS: canonical_json({stage: a.content for stage, a in artifacts.items()})}

    def _make_model(self) -> None:
        if self._model() is None:
            self.tracker.call("create_registered_model", self.name)

    def _model(self) -> Any:
        found = self.tracker.call("search_registered_models", filter_string=f"name = '{self.name}'")
        return next(iter(found), None)

    def _point(self, alias: str, number: str) -> None:
        if self.aliases().get(alias) != number:
            self.tracker.call("set_registered_model_alias", self.name, alias, number)

    def _tag(self, number: str, tags: Mapping[str, str]) -> None:
        former = self.version(number).tags
        for name, value in tags.items():
            if former.get(name) != value:
                self.tracker.call("set_model_version_tag", self.name, number, name, value)

    def _gone(self, number: str, stage: str, problem: str) -> ArtifactError:
        return ArtifactError(
            f"version {number} cannot be compared with, its {stage} is not usable ({problem})",
            stage="promotion",
            where=self.name,
            remedy="restore the artefact, or decide yourself: `unveil promote --yes --why`",
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.tracker.home / f".registry-{self.name}.lock"
        with locks.held(path, waiting_for="another process at work on the registry"):
            yield


def content_of(artifacts: Artifacts) -> str:
    """Digest of the models that a candidate would serve: equal models are one version."""
    return fingerprint_of({stage: a.content for stage, a in bundle.served(artifacts).items()})


def _shortened(value: Any) -> Any:
    """The same with every text short enough for a tag."""
    if isinstance(value, Mapping):
        return {name: _shortened(item) for name, item in value.items()}
    return one_line(value, _LONGEST) if isinstance(value, str) else value
