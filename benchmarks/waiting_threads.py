"""What spinning OpenMP threads bring and cost: `python -m benchmarks.waiting_threads`.

A thread that waits for the next parallel region can sleep at once or look for a while first. The setting is read
when the library is loaded, so every setting has a process of its own; they take turns, one step each.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from typing import Any

TRIALS = 40
_SETTINGS = {
    "sleeping at once": "0",
    "looking 300 times": "300",
    "3,000 times": "3000",
    "10,000 times": "10000",
}
_BUSY = "while True: pass"


def main() -> None:
    """Print the median step of every setting, alone and beside one process that keeps a CPU busy."""
    print("| machine | threads wait by | median | 10th to 90th percentile | to sleeping | n |")
    print("|---|---|---|---|---|---|")
    for machine, competitors in (("quiet", 0), ("one CPU busy", 1)):
        busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(competitors)]
        workers = {name: _worker(count) for name, count in _SETTINGS.items()}
        try:
            for worker in workers.values():
                _ask(worker)  # warms up
            times: dict[str, list[float]] = {name: [] for name in workers}
            for _ in range(TRIALS):
                for name, worker in workers.items():
                    times[name].append(_ask(worker))
        finally:
            _end(*workers.values())
            _end(*busy)
        _report(machine, times)


def _end(*processes: subprocess.Popen[Any]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def _report(machine: str, times: dict[str, list[float]]) -> None:
    baseline = next(iter(times.values()))
    for name, seconds in times.items():
        deciles = statistics.quantiles(seconds, n=10)
        ratio = statistics.median(own / other for own, other in zip(seconds, baseline, strict=True))
        print(
            f"| {machine} | {name} | {1000 * statistics.median(seconds):.0f} ms "
            f"| {1000 * deciles[0]:.0f} to {1000 * deciles[-1]:.0f} ms | {ratio:.2f} | {TRIALS} |",
            flush=True,
        )


def _worker(count: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": count}
    command = [sys.executable, "-m", "benchmarks.waiting_threads", "step"]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def _ask(worker: subprocess.Popen[str]) -> float:
    assert worker.stdin and worker.stdout
    worker.stdin.write("step\n")
    return float(worker.stdout.readline())


def _serve() -> None:
    """One training step of the demo's model for every line that comes in; answers with its seconds."""
    from benchmarks.__main__ import seconds, training_step

    step = training_step()
    for _ in sys.stdin:
        print(seconds(step), flush=True)


if __name__ == "__main__":
    _serve() if sys.argv[1:] == ["step"] else main()
