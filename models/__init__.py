"""The network and everything that trains and runs it. Knows neither Prefect nor MLflow; usable alone."""

import os

# Before torch starts its threads. Between two operations a thread that sleeps at once is woken too late to be of use;
# one that spins on takes the CPU from whoever else works. `benchmarks/waiting_threads.py` has the figures.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
