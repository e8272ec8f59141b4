"""Errors a user can act on: one line with the stage, the file and line, what is wrong and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable

# Whoever reads a log or a ledger need not know the password in an address.
_USERINFO = re.compile(r"(\b\w[\w+.-]{0,30}://)[^\s/?#'\"]*@")


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

    def __reduce__(self) -> tuple[Callable[..., UnveilError], tuple[object, ...]]:
        """Pickle with its keyword arguments, so that a worker's error arrives as it was raised."""
        return _rebuilt, (type(self), self.problem, self.stage, self.where, self.remedy)

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


class UnknownError(Exception):
    """Told to who asked and would not have anything fetched: what can only be known by fetching, in words."""


class GateError(UnveilError):
    """A data contract or a quality gate that said no (exit code 4)."""

    exit_code = 4


def one_line(text: str, limit: int = 2000) -> str:
    """Make text from data safe for one line of a log or a terminal.

    Control and direction characters become visible escapes; a password in an address is left out.
    """
    text = _USERINFO.sub(r"\1", text[: 4 * limit])
    visible = "".join(c if c.isprintable() else _escape(c) for c in text[: limit + 1])
    return visible if len(visible) <= limit else visible[: limit - 1] + "…"


def describe(error: BaseException) -> str:
    """One line for any error, with its type where the text alone would not say what happened."""
    if isinstance(error, UnveilError):
        return str(error)
    return one_line(f"{type(error).__name__}: {error}".rstrip(": "))


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _rebuilt(kind: type[UnveilError], problem: str, stage: str, where: str, remedy: str) -> UnveilError:
    return kind(problem, stage=stage, where=where, remedy=remedy)
