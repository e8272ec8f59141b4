"""How each step of the lifecycle is done: one module or package per stage, plain Python at the core."""

from tasks import environment as environment
