"""Shortages of disk and memory are told in one line, whoever met them; nothing else is taken for one."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from pathlib import Path

import pytest

from models.checkpoint import CheckpointError
from tasks.errors import DataError
from tasks.shortage import explained, storage_error


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "No space left on device"),
        (errno.EDQUOT, "bytes are free"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "UNVEIL_HOME"),
        (errno.EACCES, "write permission"),
        (errno.EIO, "check the disk"),
    ],
)
def test_a_disk_that_fails_is_explained(tmp_path: Path, code: int, words: str) -> None:
    error = storage_error(OSError(code, os.strerror(code), "/x/y"), "cleaning", tmp_path / "no" / "such")
    assert error is not None
    assert words in str(error)
    assert str(error).startswith("cleaning: /x/y: cannot be written")


def test_an_error_of_the_network_is_not_taken_for_one_of_the_disk(tmp_path: Path) -> None:
    for error in (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), TimeoutError("timed out")):
        assert storage_error(error, "ingestion", tmp_path) is None
        assert explained(error, "ingestion", tmp_path) is None


@pytest.mark.parametrize(
    ("written", "former", "told"),
    [
        (0, 0, r"; [\d,]+ bytes are free; free some space"),
        (1_500, 0, r"; it needs more than 1,500 bytes and [\d,]+ are free; free some space"),
        (1_500, 20_000, r"; it needs about 20,000 bytes and [\d,]+ are free; free some space"),
    ],
)
def test_what_is_needed_is_told_as_far_as_it_is_known(
    written: int, former: int, told: str, tmp_path: Path
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    error = explained(full, "tokenization", tmp_path, written, former)
    assert error is not None
    assert re.search(told, str(error)), error


def hidden(cause: Exception) -> RuntimeError:
    error = RuntimeError("the library says nothing")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
            "No space left",
        ),
        (Exception("Disk quota exceeded (os error 122)"), "quota"),
        (sqlite3.OperationalError("database or disk is full"), "No space left"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "Read-only"),
        (hidden(OSError(errno.EIO, "Input/output error")), "check the disk"),
        (
            CheckpointError("c: a checkpoint needs 11 bytes and 7 are free; make room"),
            "stage: c: a checkpoint needs 11",
        ),
        (MemoryError(), "stage: ran out of memory; try smaller batches"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "ran out of memory"),
        (RuntimeError("can't start new thread"), "ran out of memory"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_libraries_make_of_it_is_understood(error: Exception, told: str, tmp_path: Path) -> None:
    found = explained(error, "stage", tmp_path)
    assert found is not None
    assert told in str(found) and str(found).startswith("stage: ")


@pytest.mark.parametrize(
    "error",
    [
        DataError("a record says: no space left on device"),
        ValueError("tokenizer.json: no such file (os error 2)"),
        ValueError("line 7: no space left on device"),
        ValueError("out of memory is what the text says"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
    ],
    ids=str,
)
def test_other_errors_stay_what_they_are(error: Exception, tmp_path: Path) -> None:
    assert explained(error, "stage", tmp_path) is None


def test_torch_and_arrow_without_memory_are_understood(tmp_path: Path) -> None:
    import pyarrow as pa
    import torch

    for greedy in (lambda: torch.empty(1 << 60), lambda: pa.allocate_buffer(1 << 60)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            greedy()
        found = explained(caught.value, "stage", tmp_path)
        assert found is not None and "ran out of memory" in str(found)
