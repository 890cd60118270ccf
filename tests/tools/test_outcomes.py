import math
import signal
from dataclasses import replace

import pytest
from luthier.tools.outcomes import Evidence, Outcome, StopReason, Verdict, classify

GOOD = {"acc": 0.9}

TRACEBACK = "Traceback (most recent call last):\n  File ...\n{}: something\n"

FULL_DISK = "[Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("evidence", "values", "outcome", "reason"),
    [
        # complete
        (Evidence(exit_code=0), GOOD, Outcome.COMPLETE, "ended by itself"),
        (
            # It ended well before it heard of the request.
            Evidence(exit_code=0, stop_reason=StopReason.PRUNE),
            GOOD,
            Outcome.COMPLETE,
            "ended by itself",
        ),
        (
            Evidence(exit_code=0, error_tail=TRACEBACK.format("ValueError")),
            GOOD,
            Outcome.COMPLETE,
            "ended by itself",
        ),
        # one that catches the signal, saves and leaves in order is not complete
        (
            Evidence(exit_code=0, stop_reason=StopReason.STOP),
            GOOD,
            Outcome.KILLED,
            "stopped on request",
        ),
        (
            Evidence(exit_code=0, stop_reason=StopReason.DEADLINE),
            GOOD,
            Outcome.TIMED_OUT,
            "reached its time limit",
        ),
        # a full disk is no fault of the configuration
        (
            Evidence(exit_code=1, error_tail=TRACEBACK.format(f"OSError: {FULL_DISK}")),
            {},
            Outcome.INFRASTRUCTURE,
            "no space was left on the disk",
        ),
        # pruned
        (
            Evidence(signal=signal.SIGTERM, stop_reason=StopReason.PRUNE),
            GOOD,
            Outcome.PRUNED,
            "stopped early by the pruner",
        ),
        (
            Evidence(exit_code=0, exception="luthier.tools.reporting.TrialPruned"),
            GOOD,
            Outcome.PRUNED,
            "the trial stopped itself early",
        ),
        (
            Evidence(exit_code=1, error_tail=TRACEBACK.format("luthier.TrialPruned")),
            {},
            Outcome.PRUNED,
            "the trial stopped itself early",
        ),
        # out of memory
        (
            Evidence(exit_code=1, exception="torch.OutOfMemoryError"),
            GOOD,
            Outcome.OUT_OF_MEMORY,
            "raised torch.OutOfMemoryError",
        ),
        (
            Evidence(exit_code=1, error_tail=TRACEBACK.format("MemoryError")),
            {},
            Outcome.OUT_OF_MEMORY,
            "raised MemoryError",
        ),
        (
            Evidence(signal=signal.SIGKILL, kernel_oom_kills=1),
            {},
            Outcome.OUT_OF_MEMORY,
            "killed by the kernel for lack of memory",
        ),
        # diverged
        (
            Evidence(exit_code=0),
            {"acc": math.nan},
            Outcome.DIVERGED,
            "a metric was NaN or infinite",
        ),
        (
            Evidence(signal=signal.SIGTERM, stop_reason=StopReason.DIVERGED),
            {"acc": math.inf},
            Outcome.DIVERGED,
            "a metric was NaN or infinite",
        ),
        # timed out
        (
            Evidence(signal=signal.SIGKILL, stop_reason=StopReason.DEADLINE),
            GOOD,
            Outcome.TIMED_OUT,
            "reached its time limit",
        ),
        # crashed
        (Evidence(exit_code=0), {}, Outcome.CRASHED, "ended without reporting acc"),
        (Evidence(exit_code=3), GOOD, Outcome.CRASHED, "exit code 3"),
        (Evidence(signal=signal.SIGSEGV), GOOD, Outcome.CRASHED, "ended by SIGSEGV"),
        (Evidence(signal=40), GOOD, Outcome.CRASHED, "ended by signal 40"),
        (
            Evidence(exit_code=1, exception="KeyError"),
            GOOD,
            Outcome.CRASHED,
            "raised KeyError",
        ),
        (
            # The last exception is the one that ended it.
            Evidence(
                exit_code=1,
                error_tail=TRACEBACK.format("MemoryError") + TRACEBACK.format("my.OwnError"),
            ),
            {},
            Outcome.CRASHED,
            "raised my.OwnError",
        ),
        (
            # Untrusted text without a traceback proves nothing.
            Evidence(exit_code=1, error_tail="MemoryError: not really\n"),
            {},
            Outcome.CRASHED,
            "exit code 1",
        ),
        # killed
        (
            Evidence(signal=signal.SIGTERM, stop_reason=StopReason.STOP),
            GOOD,
            Outcome.KILLED,
            "stopped on request",
        ),
        (Evidence(signal=signal.SIGKILL), GOOD, Outcome.KILLED, "ended from outside by SIGKILL"),
        (
            Evidence(started=False, stop_reason=StopReason.STOP),
            {},
            Outcome.KILLED,
            "stopped on request",
        ),
        # out of memory beyond its own limit
        (
            Evidence(
                signal=signal.SIGKILL,
                stop_reason=StopReason.MEMORY,
                peak_bytes=3 << 30,
                memory_bytes=2 << 30,
            ),
            GOOD,
            Outcome.OUT_OF_MEMORY,
            "used 3 GiB of main memory, but only 2 GiB are allowed",
        ),
        # silent
        (
            Evidence(signal=signal.SIGTERM, stop_reason=StopReason.SILENCE),
            GOOD,
            Outcome.TIMED_OUT,
            "reported nothing for too long",
        ),
        (
            Evidence(exit_code=0, stop_reason=StopReason.SILENCE),
            GOOD,
            Outcome.TIMED_OUT,
            "reported nothing for too long",
        ),
        # invalid
        (
            Evidence(exit_code=2, error_tail="usage: train.py [-h]\ntrain.py: error: ..."),
            {},
            Outcome.INVALID,
            "the script refused its arguments",
        ),
        # infrastructure
        (
            Evidence(started=False),
            {},
            Outcome.INFRASTRUCTURE,
            "its process never started",
        ),
        (
            Evidence(error_tail=TRACEBACK.format("MemoryError")),
            GOOD,
            Outcome.INFRASTRUCTURE,
            "its launcher was lost",
        ),
    ],
)
def test_every_end_has_one_outcome_and_a_reason(evidence, values, outcome, reason):
    verdict = classify(evidence, values, ["acc"])
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


def test_the_table_above_holds_every_outcome():
    (mark,) = test_every_end_has_one_outcome_and_a_reason.pytestmark
    assert {case[2] for case in mark.args[1]} == set(Outcome)


def test_every_required_metric_must_be_reported():
    verdict = classify(Evidence(exit_code=0), {"a": 1.0}, ["a", "b", "c"])
    assert verdict.reason == "ended without reporting b, c"


def test_any_signal_can_be_told():
    outcomes = {classify(Evidence(signal=n), {}, []).outcome for n in range(1, 65)}
    assert outcomes == {Outcome.CRASHED, Outcome.KILLED}


# --- what an exception's type and message tell together -------------------------------------

TORCH_OOM = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of"
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
CPU_OOM = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 400000000000 bytes. Error code 12 (Cannot allocate memory)"
)
XLA = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes."
NCCL = (
    "NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:1970, unhandled system "
    "error (run with NCCL_DEBUG=INFO for details), NCCL version 2.21.5"
)
ASYNC = "\nCUDA kernel errors might be asynchronously reported at some other API call"

MEMORY = [
    ("torch.OutOfMemoryError", TORCH_OOM),
    ("torch.cuda.OutOfMemoryError", TORCH_OOM),
    ("torch._C._OutOfMemoryError.OutOfMemoryError", "anything"),
    ("RuntimeError", TORCH_OOM),
    ("RuntimeError", "CUDA error: out of memory" + ASYNC),
    ("torch.AcceleratorError", "CUDA error: out of memory" + ASYNC),
    ("RuntimeError", CUBLAS),
    ("RuntimeError", CPU_OOM),
    ("jaxlib.xla_extension.XlaRuntimeError", XLA),
    ("jax.errors.JaxRuntimeError", XLA),
    ("tensorflow.python.framework.errors_impl.ResourceExhaustedError", "OOM when allocating"),
    ("numpy._core._exceptions._ArrayMemoryError", "Unable to allocate 7.45 TiB for an array"),
    ("MemoryError", ""),
]

FAULTS = [
    ("RuntimeError", "CUDA error: uncorrectable ECC error encountered" + ASYNC),
    ("RuntimeError", "CUDA error: no CUDA-capable device is detected" + ASYNC),
    ("RuntimeError", "CUDA error: all CUDA-capable devices are busy or unavailable" + ASYNC),
    ("RuntimeError", "CUDA error: CUDA-capable device(s) is/are busy or unavailable" + ASYNC),
    ("torch.AcceleratorError", "CUDA error: unspecified launch failure" + ASYNC),
    ("RuntimeError", "CUDA error: unknown error" + ASYNC),
    ("RuntimeError", "CUDA error: initialization error" + ASYNC),
    ("RuntimeError", "CUDA unknown error - this may be due to an incorrectly set up environment"),
    ("RuntimeError", "CUDA error: GPU is lost" + ASYNC),
    ("pynvml.NVMLError_GpuIsLost", "GPU is lost"),
    ("torch.distributed.DistBackendError", NCCL),
    ("RuntimeError", NCCL),
]

OWN_FAULTS = [
    ("RuntimeError", "CUDA error: an illegal memory access was encountered" + ASYNC),
    ("torch.AcceleratorError", "CUDA error: device-side assert triggered" + ASYNC),
    # They only mention what others have suffered.
    ("RuntimeError", f"will not resume: the last run ended with '{TORCH_OOM}'"),
    ("ValueError", TORCH_OOM),
    ("ValueError", "CUDA error: unknown error"),
    ("KeyError", "RESOURCE_EXHAUSTED"),
    ("AssertionError", "GPU is lost"),
    ("RuntimeError", XLA),
    ("my.OwnError", FULL_DISK),
    ("OSError", f"the log says: {FULL_DISK}"),
]


def told(kind, message):
    """What a Python trial writes down of its end."""
    return Evidence(exit_code=1, exception=kind, exception_message=message)


def printed(kind, message):
    """What a script prints at its end."""
    frames = '  File "train.py", line 3, in <module>\n    loss.backward()\n    ~~~~~~^^\n'
    text = f"Traceback (most recent call last):\n{frames}{kind}: {message}\n"
    return Evidence(exit_code=1, error_tail=text.replace(": \n", "\n"))


@pytest.mark.parametrize("evidence", [told, printed])
@pytest.mark.parametrize(("kind", "message"), MEMORY)
def test_a_lack_of_memory_is_told_by_type_and_message(evidence, kind, message):
    verdict = classify(evidence(kind, message), GOOD, ["acc"])
    assert verdict.outcome is Outcome.OUT_OF_MEMORY
    assert verdict.reason.startswith(f"raised {kind}")


@pytest.mark.parametrize("evidence", [told, printed])
@pytest.mark.parametrize(("kind", "message"), FAULTS)
def test_a_device_that_fails_is_no_fault_of_the_configuration(evidence, kind, message):
    verdict = classify(evidence(kind, message), GOOD, ["acc"])
    assert verdict.outcome is Outcome.INFRASTRUCTURE
    named = verdict.reason.removeprefix("its device failed: ")
    assert message.startswith(named)


@pytest.mark.parametrize("evidence", [told, printed])
@pytest.mark.parametrize(("kind", "message"), OWN_FAULTS)
def test_what_the_code_did_itself_is_a_crash(evidence, kind, message):
    verdict = classify(evidence(kind, message), GOOD, ["acc"])
    assert verdict == Verdict(Outcome.CRASHED, f"raised {kind}")


@pytest.mark.parametrize(("kind", "message"), MEMORY + FAULTS + OWN_FAULTS)
def test_what_a_trial_only_printed_does_not_matter_if_it_ends_well(kind, message):
    evidence = replace(printed(kind, message), exit_code=0)
    assert classify(evidence, GOOD, ["acc"]).outcome is Outcome.COMPLETE


@pytest.mark.parametrize(("kind", "message"), MEMORY + FAULTS)
def test_what_a_trial_printed_without_raising_it_proves_nothing(kind, message):
    evidence = Evidence(exit_code=3, error_tail=f"{kind}: {message}\ncleaning up\n")
    assert classify(evidence, GOOD, ["acc"]).reason == "exit code 3"


@pytest.mark.parametrize(("kind", "message"), MEMORY + FAULTS)
def test_an_exception_that_was_survived_does_not_count(kind, message):
    earlier, last = printed(kind, message).error_tail, printed("KeyError", "'lr'").error_tail
    evidence = Evidence(exit_code=1, error_tail=f"{earlier}trying again\n{last}{kind}: bye\n")
    assert classify(evidence, GOOD, ["acc"]).reason == "raised KeyError"


def test_an_exception_is_read_though_its_traceback_is_cut_off():
    tail = '    step()\n  File "a.py", line 1, in step\n    x.cuda()\nRuntimeError: ' + TORCH_OOM
    assert classify(Evidence(exit_code=1, error_tail=tail), {}, []).outcome is Outcome.OUT_OF_MEMORY


def test_an_exception_of_one_of_many_ranks_is_read():
    text = printed("torch.distributed.DistBackendError", NCCL).error_tail
    ranked = "".join(f"[rank0]: {line}\n" for line in text.splitlines())
    evidence = Evidence(exit_code=1, error_tail=ranked + "ncclSystemError: System call failed\n")
    assert classify(evidence, {}, []).outcome is Outcome.INFRASTRUCTURE


def test_the_cause_in_a_loader_of_data_is_read():
    inner = printed("MemoryError", "").error_tail
    text = printed("RuntimeError", "Caught MemoryError in DataLoader worker process 0.").error_tail
    evidence = Evidence(exit_code=1, error_tail=f"{text}Original {inner}")
    assert classify(evidence, {}, []).outcome is Outcome.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("kind", "message", "outcome"),
    [
        ("std::bad_alloc", "std::bad_alloc", Outcome.OUT_OF_MEMORY),
        ("c10::Error", TORCH_OOM, Outcome.OUT_OF_MEMORY),
        ("c10::Error", "CUDA error: unspecified launch failure", Outcome.INFRASTRUCTURE),
        ("c10::Error", "CUDA error: device-side assert triggered", Outcome.CRASHED),
        ("std::runtime_error", "CUDA out of memory", Outcome.CRASHED),
    ],
)
def test_what_a_program_aborts_with_is_read(kind, message, outcome):
    said = f"terminate called after throwing an instance of '{kind}'\n  what():  {message}\n"
    aborted = Evidence(signal=signal.SIGABRT, error_tail=said)
    assert classify(aborted, GOOD, ["acc"]).outcome is outcome
    assert classify(replace(aborted, signal=signal.SIGSEGV), {}, []).reason == "ended by SIGSEGV"
