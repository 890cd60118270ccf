"""Granting the wish to run ended trials again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..tools.checkpoints import discard
from ..tools.records import TrialRecord, Wish
from ..tools.retry import Retry, RetryError, plan
from ..tools.workspace import Workspace
from ..tools.writer import Writer


def reopen(
    writer: Writer, trials: Sequence[TrialRecord], wish: Wish, workspace: Workspace
) -> list[TrialRecord]:
    """Let the trials of a `retry` wish wait for another attempt, and return them.

    If one of them cannot be run as asked, none is, and an event says why. Those that have not ended
    are left alone, so a wish that is granted twice, because a worker died in between, comes to the
    same.
    """
    retry = Retry(**wish.data)
    folder = partial(workspace.checkpoint_folder, writer.study.name)
    try:
        plans = plan(writer.study.spec, trials, retry, folder)
    except RetryError as error:
        writer.note("refused", wish=wish.kind, author=wish.author, reason=str(error))
        return []
    if retry.fresh:
        for trial, _ in plans:
            discard(folder(trial.number))
    return [writer.reopen(trial, configuration) for trial, configuration in plans]
