"""The network and everything that trains and runs it. Knows neither Prefect nor MLflow; usable alone."""

import os

# Before torch starts its threads: spinning while they wait can cost most of the speed on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
