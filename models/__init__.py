"""The network and everything that trains and runs it. Knows neither Prefect nor MLflow; usable alone."""
