"""What runs inside a trial: metrics out, checkpoints in and out, the signal to stop.

This file needs nothing but the standard library (Python 3.8 or newer) and may be copied beside a
training script of any environment (`luthier export reporter`). It speaks to Luthier through files
whose paths come in environment variables, so a script in another language can do the same:

    LUTHIER_CONFIG      path of a JSON object: parameter name -> value
    LUTHIER_METRICS     path to which one JSON line per report is appended:
                        {"step": 3, "metrics": {"val_acc": 0.93}, "time": 1700000000.0}
    LUTHIER_STOP        path; once a file exists there, the trial is pruned and should end
    LUTHIER_CHECKPOINT  path of the trial's folder for checkpoints, which every new attempt finds as
                        the last one left it; a script may write files of its own there
    LUTHIER_KEEP_LAST, LUTHIER_KEEP_BEST   how many checkpoints to keep: the newest, the best
    LUTHIER_DIRECTION   `maximize` or `minimize`: which value of a checkpoint is the better
    LUTHIER_SEED        integer seed of this trial
    LUTHIER_WAKE        path of a FIFO; a byte written to it makes Luthier look at once (optional)
    LUTHIER_STUDY, LUTHIER_TRIAL, LUTHIER_ATTEMPT   who this is

Outside a trial none of them is set: `report` does nothing and `load_checkpoint` returns None. Of
several processes of one trial (`RANK`, as torchrun sets it) only rank 0 reports and saves; the
others load checkpoints and hear the signal to stop too.
"""

import contextlib
import hashlib
import json
import math
import os
import pickle
import re
import sys
import time
from typing import Any, Dict, List, Optional, Set, Union  # noqa: UP035  (runs on Python 3.8)

Number = Union[int, float]  # noqa: UP007
_CHECKPOINT_MAGIC = b"luthier2"
_CHECKPOINT_NAME = re.compile(r"\d{8,}\.ckpt")
_DIGEST_BYTES = 32
_LONGEST_HEADER = 4096
_damaged: Set[str] = set()  # noqa: UP006
"""What `load_checkpoint` has passed over; the next save counts none of it, and deletes it."""


class TrialPruned(Exception):
    """Raised by `report` in a trial that Luthier has decided to stop early; let it pass."""


class CheckpointError(ValueError):
    """A trial's checkpoints are damaged, or belong to another configuration."""


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
    if _is_first_rank():
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


def save_checkpoint(
    state: object,
    step: Optional[int] = None,  # noqa: UP045
    value: Optional[Number] = None,  # noqa: UP045
) -> None:
    """Save anything picklable (a torch `state_dict`, say) as this trial's newest checkpoint.

    A kill at any instant leaves the checkpoints before it as they were. Older ones are deleted,
    but for as many of the newest and of the best as `executor.checkpoints` of the spec keeps.
    Outside a trial nothing is written.

    Args:
        state: What `load_checkpoint` is to return.
        step: How far the training is, as in `report`.
        value: The optimised metric's value (the first one's of several) at this step, by which the
            best checkpoints are told. One without a value, or with NaN, is never among the best.

    Raises:
        TypeError: If the value is not a number.
        ValueError: If the step is negative.
    """
    if step is not None and int(step) < 0:
        raise ValueError(f"`step >= 0` must hold, but got step={step}")
    worth = math.nan if value is None else _as_float("value", value)
    folder = os.environ.get("LUTHIER_CHECKPOINT")
    if folder is None or not _is_first_rank():
        return
    header = {
        "step": None if step is None else int(step),
        "value": worth if math.isfinite(worth) else None,
        "configuration": configuration_digest(config()),
    }
    first_line = json.dumps(header).encode() + b"\n"
    payload = pickle.dumps(state, protocol=4)
    digest = hashlib.sha256(first_line)
    digest.update(payload)
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    newest = checkpoint_files(folder)[-1:]
    number = 1 + (int(os.path.basename(newest[0])[:-5]) if newest else 0)  # noqa: PTH119
    path = os.path.join(folder, f"{number:08d}.ckpt")  # noqa: PTH118
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "wb") as file:  # noqa: PTH123
        file.writelines([_CHECKPOINT_MAGIC, digest.digest(), first_line, payload])
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)  # noqa: PTH105
    _delete_old_checkpoints(folder)


def load_checkpoint(which: str = "latest") -> Any:
    """Return a state that this trial saved, in an earlier attempt or in this one; None without one.

    A damaged checkpoint is passed over for the one before it, with a line on standard error.

    Args:
        which: `latest`, or `best`: the one with the best `value`, to measure or export at the end.

    Raises:
        CheckpointError: If all are damaged, or if it belongs to another configuration.
    """
    if which not in ("latest", "best"):
        raise ValueError(f"`which` must be 'latest' or 'best', but got {which!r}")
    folder = os.environ.get("LUTHIER_CHECKPOINT")
    if folder is None:
        return None
    paths = checkpoint_files(folder)
    if which == "best":
        paths = _worst_first(paths)
    for path in reversed(paths):
        content = _read_checkpoint(path)
        if content is None:
            print(f"luthier: passed over checkpoint {path!r}, it is damaged", file=sys.stderr)
            _damaged.add(path)
            continue
        end = content.index(b"\n") + 1
        if json.loads(content[:end])["configuration"] != configuration_digest(config()):
            raise CheckpointError(
                f"checkpoint {path!r} belongs to another configuration than {config()}; "
                "start the trial over with `luthier retry --fresh`"
            )
        return pickle.loads(memoryview(content)[end:])
    if paths:
        raise CheckpointError(
            f"all {len(paths)} checkpoints in {folder!r} are damaged; "
            "start the trial over with `luthier retry --fresh`"
        )
    return None


def configuration_digest(configuration: Dict[str, Any]) -> str:  # noqa: UP006
    """Return the SHA-256 of a configuration's canonical JSON, in hex."""
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def checkpoint_files(folder: str) -> List[str]:  # noqa: UP006
    """Return the paths of the checkpoints in a folder, oldest first."""
    try:
        names = [name for name in os.listdir(folder) if _CHECKPOINT_NAME.fullmatch(name)]  # noqa: PTH208
    except FileNotFoundError:
        return []
    names.sort(key=lambda name: int(name[:-5]))
    return [os.path.join(folder, name) for name in names]  # noqa: PTH118


def checkpoint_header(path: str) -> Optional[Dict[str, Any]]:  # noqa: UP006, UP045
    """Return a checkpoint's `step`, `value` and `configuration` (a digest); None if damaged.

    The state after it is not read.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            start = file.read(len(_CHECKPOINT_MAGIC) + _DIGEST_BYTES)
            header: Dict[str, Any] = json.loads(file.readline(_LONGEST_HEADER))  # noqa: UP006
    except (OSError, ValueError):
        return None
    return header if start.startswith(_CHECKPOINT_MAGIC) else None


def _read_checkpoint(path: str) -> Optional[bytes]:  # noqa: UP045
    """Return what follows a checkpoint's digest, None unless it carries that digest."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            magic = file.read(len(_CHECKPOINT_MAGIC))
            digest = file.read(_DIGEST_BYTES)
            content = file.read()
    except OSError:
        return None
    whole = magic == _CHECKPOINT_MAGIC and hashlib.sha256(content).digest() == digest
    return content if whole else None


def _worst_first(paths: List[str]) -> List[str]:  # noqa: UP006
    """Return the checkpoints that have a value, the best one last; of equal ones the newest."""
    sign = -1.0 if os.environ.get("LUTHIER_DIRECTION") == "minimize" else 1.0
    values = {}
    for path in paths:
        value = (checkpoint_header(path) or {}).get("value")
        if value is not None:
            values[path] = sign * value
    return sorted(values, key=values.__getitem__)


def _delete_old_checkpoints(folder: str) -> None:
    """Delete what need not be kept; the newest, which has just been written, always is."""
    found = checkpoint_files(folder)
    paths = [path for path in found if path not in _damaged]
    last = max(1, int(os.environ.get("LUTHIER_KEEP_LAST", "1")))
    best = int(os.environ.get("LUTHIER_KEEP_BEST", "0"))
    kept = paths[-last:] + (_worst_first(paths)[-best:] if best > 0 else [])
    for path in set(found).difference(kept):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)  # noqa: PTH107


def _is_first_rank() -> bool:
    return os.environ.get("RANK", "0") == "0"


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
