"""Errors a user can act on: one line that names the stage, the file and line, what is wrong and what to do."""

from __future__ import annotations


class UnveilError(Exception):
    """Base of every error meant for a person; the command line prints it without a traceback.

    Args:
        problem: what is wrong, without a trailing full stop.
        stage: the stage at work, when there is one.
        where: the file, ``file:line`` or configuration key at fault.
        remedy: what the reader can do about it.
    """

    exit_code = 1

    def __init__(self, problem: str, *, stage: str = "", where: object = "", remedy: str = "") -> None:
        self.problem, self.stage, self.where, self.remedy = problem, stage, str(where), remedy
        super().__init__(problem, stage, str(where), remedy)

    def __str__(self) -> str:
        prefix = ": ".join(part for part in (self.stage, self.where) if part)
        text = f"{prefix}: {self.problem}" if prefix else self.problem
        return one_line(f"{text}; {self.remedy}" if self.remedy else text)


class ConfigError(UnveilError):
    """A configuration or a command that cannot be used (exit code 2)."""

    exit_code = 2


class SourceError(UnveilError):
    """A source that is missing, unreadable, unreachable, or not what its checksum says."""


class DataError(UnveilError):
    """Data that a stage cannot work with: an empty corpus, nothing left after cleaning, a broken table."""


class ArtifactError(UnveilError):
    """A stored artefact that is missing, incomplete or altered."""


class GateError(UnveilError):
    """A data contract or a quality gate that said no (exit code 4)."""

    exit_code = 4


def one_line(text: str, limit: int = 2000) -> str:
    """Make text from data safe for one line of a log or a terminal: control characters become visible escapes."""
    visible = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return visible if len(visible) <= limit else visible[: limit - 1] + "…"
