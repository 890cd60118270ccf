"""The executor's section of a spec: where and how trials run, on real devices or pretend ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from .section import Moment, Seconds, Section


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


DeviceId = Annotated[str, BeforeValidator(_as_text), Field(min_length=1)]
"""The index of a CUDA device, as CUDA numbers those that are visible, or its UUID."""


class LabDevice(Section):
    """A pretend device, and what goes wrong with it."""

    memory_gib: float = Field(default=16.0, gt=0)
    """Its memory; a trial that needs more (of its share) runs out of it."""
    speed: float = Field(default=1.0, gt=0)
    """How many times as fast as a common one it trains."""
    dies_at: Moment | None = None
    """When it dies: what runs on it is lost, and nothing starts on it any more."""
    poisoned_at: Moment | None = None
    """When it is poisoned: from then on every trial that starts on it crashes."""
    preempted_at: list[Moment] = Field(default_factory=list)
    """When whoever owns it takes it back for a moment: what runs on it is lost."""
    slow_at: Moment | None = None
    """When it becomes ten times slower."""


class Lab(Section):
    """A pretend lab. Its moments are counted from the study's beginning, on the lab's clock."""

    devices: list[LabDevice] = Field(min_length=1)
    hanging_trials: list[int] = Field(default_factory=list)
    """Numbers of the trials that stop half way and never come back, in every attempt."""
    rate: float = Field(default=1.0, ge=0)
    """How many seconds pass on the lab's clock while the loop computes for one. With 0 a run of
    the study is the same whenever it is repeated."""
    jumps: bool = True
    """Whether the clock jumps to the next thing that happens; otherwise it runs there at its
    rate, so that a person can watch."""

    @model_validator(mode="after")
    def _check(self) -> Lab:
        if self.rate == 0 and not self.jumps:
            raise ValueError("`rate > 0` must hold for a clock that does not jump, but got rate=0")
        return self


class Checkpoints(Section):
    """Which checkpoints of a trial are kept while it runs; the newest always is.

    Of a trial that is complete they are deleted, unless it is the study's best (or on its Pareto
    front). A trial that ended otherwise keeps them, for it can be continued: `luthier retry`.
    """

    keep_last: int = Field(default=1, ge=1)
    """How many of the newest: more than one guards against a damaged file."""
    keep_best: int = Field(default=0, ge=0)
    """How many of those with the best value of the (first) optimised metric."""


class Executor(Section):
    """Where and how trials run."""

    kind: Literal["local", "simulated"] = "local"
    """`local`: on this machine. `simulated`: in a pretend lab, for tests and demos."""
    lab: Lab | None = None
    """The pretend lab; only with `simulated`, whose objective is a callable that returns what its
    training would be like (`tools.executors.lab.Training`)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes the CUDA devices if there are any, otherwise the CPU."""
    devices: list[DeviceId] | None = Field(default=None, min_length=1)
    """The CUDA devices to use, each by its index, as CUDA numbers those that are visible, or by its
    UUID (`nvidia-smi -L`). Default: all that are visible."""
    devices_per_trial: float = 1.0
    """CUDA devices of one trial: a whole number gives it so many (`torchrun train.py` then starts a
    process for each), a fraction such as 0.5 lets so many trials share one."""
    slots: int | None = Field(default=None, gt=0, le=1024)
    """Most trials at a time. Default: as many as the CUDA devices hold; on the CPU one a core, at
    most 8."""
    threads: int | None = Field(default=None, gt=0)
    """CPU threads of each process of a trial. Default: cores divided by slots, and by the devices
    of a trial."""
    memory_gib: float | None = Field(default=None, gt=0)
    """GiB of main memory that the processes of one trial may use together; None leaves it to the
    kernel."""
    grace_seconds: Seconds = 10.0
    """Seconds between the request to stop and the kill of the whole process group."""
    log_bytes: int = Field(default=10_000_000, gt=0)
    """Bytes of standard output, and of standard error, that are kept of one attempt."""
    checkpoints: Checkpoints = Field(default_factory=Checkpoints)

    @model_validator(mode="after")
    def _check(self) -> Executor:
        if (self.kind == "simulated") != (self.lab is not None):
            raise ValueError(f"`lab` goes with `kind: simulated` alone, but got kind={self.kind!r}")
        each = self.devices_per_trial
        if not (0 < each < 1 or (each >= 1 and each.is_integer())):
            raise ValueError(
                "`devices_per_trial` must be a whole number of devices for one trial, or a "
                f"fraction between 0 and 1 to share one, but got {each:.15g}"
            )
        names = self.devices or []
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"`devices` must name each device once, but {twice[0]!r} stands twice")
        if self.device == "cpu" and (self.devices is not None or each != 1):
            field = "devices" if self.devices is not None else "devices_per_trial"
            raise ValueError(
                f"`{field}` is about CUDA devices, but `device` is 'cpu'; leave one of them out"
            )
        return self
