"""Keeps Optuna's notices about its own workings off the user's screen."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

import optuna

_here = threading.local()


class _NotHere(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_here, "quiet", False)


# Which of Optuna's experimental features are used is our choice; the user can do nothing about it.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
optuna.logging.get_verbosity()  # makes Optuna's handler
for _handler in logging.getLogger("optuna").handlers:
    _handler.addFilter(_NotHere())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what Optuna logs in this thread; other threads, and the user's level, stay as they are.

    `optuna.logging.set_verbosity` would be one setting for all threads.
    """
    before = getattr(_here, "quiet", False)
    _here.quiet = True
    try:
        yield
    finally:
        _here.quiet = before
