"""How much memory reading a file takes, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_CODE = """
import json, re, resource, sys
import pyarrow.parquet
pyarrow.array(["its allocator reserves a gigabyte at the first use"])
from tasks.sources import files
from tasks.sources.config import (FilesSource)

def status(name):
    return int(re.search(name + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10

# Not ru_maxrss, which begins with the peak of the process that started this one.
before, room = status("VmHWM"), status("VmSize") + (1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
source = FilesSource(path=sys.argv[1], domain="web", licence="CC0-1.0")
found = list(files.read(source, files.interpreter(source, 1 << 24), 1 << 24))
peak = status("VmHWM")
print(json.dumps([peak >> 20, peak - before >> 20, [getattr(outcome, "rule", "kept") for outcome in found]]))
"""


def memory_of_reading(path: Path) -> tuple[int, int, list[str]]:
    """Peak and growth in MiB, and what became of each record.

    The child may map 1 GiB beyond what its libraries take, and fails if it wants more.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CODE, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak, growth, rules = json.loads(done.stdout)
    return peak, growth, rules
