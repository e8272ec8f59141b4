"""What runs, in which order."""

from tasks import environment as environment
