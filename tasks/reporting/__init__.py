"""Reporting: what a run did and how good the outcome is, on one page that a person reads."""
