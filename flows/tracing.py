"""`unveil trace`: the documents, or labelled rows, that one step of a training read."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

from tasks.environment import workspace
from tasks.errors import one_line
from tasks.passages import Passage
from tasks.tracing import PRETRAINING, Traced, trace

_WORD = 300


def show(options: argparse.Namespace) -> None:
    """Print what a step read, window by window or example by example, or the same as JSON.

    Raises:
        ConfigError: there is no such run, training or step.
        ArtifactError: what the run was made of is no longer there.
    """
    traced = trace(workspace(), options.run, options.step, options.stage)
    if options.json:
        sys.stdout.write(json.dumps(asdict(traced), indent=1) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(traced)) + "\n")


def _lines(traced: Traced) -> Iterator[str]:
    measured = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in traced.measured.items())
    documents = len({passage.document for passage in traced.passages})
    yield f"run {traced.run}, {traced.stage}, step {traced.step} of {traced.steps}: {measured or 'no curve was kept'}"
    if traced.note:
        yield f"note: {traced.note}"
    pretraining = traced.stage == PRETRAINING
    parts, wholes, unit = (
        ("passages", "documents", "window") if pretraining else ("examples", "rows", "example")
    )
    yield f"{len(traced.passages)} {parts} of {documents} {wholes}"
    window = -1
    for passage in traced.passages:
        if passage.window != window:
            window = passage.window
            yield f"{unit} {window + 1}"
        yield from _passage(passage)


def _passage(passage: Passage) -> Iterator[str]:
    place = f"{passage.first}-{passage.first + passage.tokens - 1}"
    words = (passage.document, passage.source, passage.uri, passage.licence)
    about = "  ".join(one_line(word, _WORD) for word in words if word)
    yield f"  {place:>11}  {passage.tokens:5d} tokens  {about}"
    yield f"               {passage.excerpt}"
    if passage.target:
        yield f"            -> {passage.target}"
