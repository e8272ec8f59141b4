"""What runs, in which order. Importing this package prepares environment and workspace before Prefect is loaded."""

from tasks import environment

# Prefect makes its own folder when it is imported, but not the folder above it.
environment.workspace().mkdir(mode=0o700, parents=True, exist_ok=True)
