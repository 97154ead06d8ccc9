"""The error tree. Messages name the thing, what was allowed, what was given, and the next step.

CountermarkError
├── UsageError               the caller asked for something that cannot be       (exit 2)
├── UnreadableError          the bytes cannot be read as what they claim to be   (exit 3)
│   ├── UnsupportedFormat    a format this build does not read
│   └── LimitExceeded        larger than the configured limits, refused before decoding
├── MissingPart              an optional package, key or model is not installed  (exit 3)
└── MarkError                a mark could not be written or did not read back    (exit 3)
"""

from __future__ import annotations

__all__ = [
    "CountermarkError",
    "LimitExceeded",
    "MarkError",
    "MissingPart",
    "UnreadableError",
    "UnsupportedFormat",
    "UsageError",
]


class CountermarkError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 3


class UsageError(CountermarkError):
    """The caller asked for something that is not possible or not allowed."""

    exit_code = 2


class UnreadableError(CountermarkError):
    """The bytes could not be read as the file they claim to be."""


class UnsupportedFormat(UnreadableError):
    """The format is not one of those this build reads."""


class LimitExceeded(UnreadableError):
    """The file is larger than the configured limits; it was refused before decoding."""


class MissingPart(CountermarkError):
    """An optional package, key or model that the request needs is not there."""


class MarkError(CountermarkError):
    """A mark could not be written, or was written and did not read back."""
