"""What runs inside a trial: metrics out, checkpoints in and out, the signal to stop.

This file needs nothing but the standard library (Python 3.8 or newer) and may be copied beside a
training script of any environment (`luthier export reporter`). It speaks to Luthier through files
whose paths come in environment variables, so a script in another language can do the same:

    LUTHIER_CONFIG      path of a JSON object: parameter name -> value
    LUTHIER_METRICS     path to which one JSON line per report is appended:
                        {"step": 3, "metrics": {"val_acc": 0.93}, "time": 1700000000.0}
    LUTHIER_STOP        path; once a file exists there, the trial is pruned and should end
    LUTHIER_CHECKPOINT  path of the trial's latest checkpoint, which survives a new attempt
    LUTHIER_SEED        integer seed of this trial
    LUTHIER_WAKE        path of a FIFO; a byte written to it makes Luthier look at once (optional)
    LUTHIER_STUDY, LUTHIER_TRIAL, LUTHIER_ATTEMPT   who this is

Outside a trial none of them is set: `report` does nothing and `load_checkpoint` returns None.
"""

import hashlib
import json
import os
import pickle
import time
from typing import Any, Dict, Optional, Union  # noqa: UP035  (the file runs on Python 3.8)

Number = Union[int, float]  # noqa: UP007
_CHECKPOINT_MAGIC = b"luthier1"


class TrialPruned(Exception):
    """Raised by `report` in a trial that Luthier has decided to stop early; let it pass."""


class CheckpointError(ValueError):
    """A checkpoint file is damaged or was not written by `save_checkpoint`."""


def report(step: Optional[int] = None, **metrics: Number) -> None:  # noqa: UP045
    """Report metrics of this trial.

    Args:
        step: How far the training is, an integer >= 0 (an epoch, say). Without it the values are
            the trial's final ones.
        metrics: Metric name to value. NaN and infinity are reported as they are; they end the
            trial as diverged.

    Raises:
        TrialPruned: If Luthier decided to stop this trial early.
        TypeError: If a value is not a number.
        ValueError: If the step is negative or no metric is given.
    """
    if not metrics:
        raise ValueError("report() needs at least one metric, as in report(step=1, val_acc=0.9)")
    if step is not None and int(step) < 0:
        raise ValueError(f"`step >= 0` must hold, but got step={step}")
    values = {name: _as_float(name, value) for name, value in metrics.items()}
    path = os.environ.get("LUTHIER_METRICS")
    if path is None:
        return
    line: Dict[str, Any] = {"metrics": values, "time": time.time()}  # noqa: UP006
    if step is not None:
        line["step"] = int(step)
    # One write of one whole line: appends of several processes do not mix.
    with open(path, "ab", buffering=0) as file:  # noqa: PTH123
        file.write(json.dumps(line).encode() + b"\n")
    _wake()
    stop = os.environ.get("LUTHIER_STOP")
    if stop is not None and os.path.exists(stop):  # noqa: PTH110
        raise TrialPruned(f"stopped early at step {step}")


def config() -> Dict[str, Any]:  # noqa: UP006
    """Return this trial's configuration, or an empty dict outside a trial."""
    path = os.environ.get("LUTHIER_CONFIG")
    if path is None:
        return {}
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        loaded: Dict[str, Any] = json.load(file)  # noqa: UP006
    return loaded


def seed(default: int = 0) -> int:
    """Return this trial's seed, or `default` outside a trial."""
    return int(os.environ.get("LUTHIER_SEED", default))


def save_checkpoint(state: object) -> None:
    """Save anything picklable (a torch `state_dict`, say) as this trial's latest checkpoint.

    The file is replaced atomically, so a kill at any instant leaves the previous or the new one.
    Outside a trial nothing is written.
    """
    path = os.environ.get("LUTHIER_CHECKPOINT")
    if path is None:
        return
    payload = pickle.dumps(state, protocol=4)
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "wb") as file:  # noqa: PTH123
        file.write(_CHECKPOINT_MAGIC + hashlib.sha256(payload).digest() + payload)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)  # noqa: PTH105


def load_checkpoint() -> Any:
    """Return the state that an earlier attempt of this trial saved, or None if there is none.

    Raises:
        CheckpointError: If the file does not carry the digest of its content.
    """
    path = os.environ.get("LUTHIER_CHECKPOINT")
    if path is None or not os.path.exists(path):  # noqa: PTH110
        return None
    with open(path, "rb") as file:  # noqa: PTH123
        content = file.read()
    start = len(_CHECKPOINT_MAGIC)
    digest, payload = content[start : start + 32], content[start + 32 :]
    if not content.startswith(_CHECKPOINT_MAGIC) or hashlib.sha256(payload).digest() != digest:
        raise CheckpointError(f"checkpoint {path!r} is damaged; delete it to start afresh")
    return pickle.loads(payload)


def _as_float(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"metric {name!r} must be a number, but got {value!r}") from None


def _wake() -> None:
    path = os.environ.get("LUTHIER_WAKE")
    if path is None:
        return
    try:
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody listens just now; Luthier polls as well
        return
    try:
        os.write(fifo, b"\n")
    except OSError:  # the FIFO is full: Luthier is awake already
        pass
    finally:
        os.close(fifo)
