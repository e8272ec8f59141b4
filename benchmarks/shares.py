"""A share of so many cases with its exact interval (Clopper and Pearson), as every benchmark that counts shows it."""

from __future__ import annotations

from scipy.stats import beta


def exact_interval(hits: int, of: int) -> tuple[float, float]:
    """The exact 95 % interval; of all hits its lower end is the best that so few cases allow."""
    low = float(beta.ppf(0.025, hits, of - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(0.975, hits + 1, of - hits)) if hits < of else 1.0


def share(hits: int, of: int, digits: int = 4) -> str:
    """The share with its interval, or nothing where there is nothing to share."""
    if not of:
        return ""
    low, high = exact_interval(hits, of)
    return f"{hits / of:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
