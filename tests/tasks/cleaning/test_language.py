"""Telling languages needs nothing of the machine but memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_it_needs_no_room_on_any_disk(root: Path) -> None:
    """The library unpacks its model into $TMPDIR; where that was full, every document seemed to be unreadable."""
    program = """
import resource
from tasks.cleaning.language import identify
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
assert identify("Some words of a page here and there.").code == "en"
"""
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True, timeout=300)
