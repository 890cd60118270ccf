"""Which device is to blame: a judgement on attempts alone, without any device."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from luthier.agent.breakers import SUSPICIOUS, Conviction, Suspicion, convictions
from luthier.agent.history import Ended
from luthier.tools.outcomes import Outcome
from luthier.tools.records import AttemptRecord

LETTERS = {
    "ok": Outcome.COMPLETE,
    "pruned": Outcome.PRUNED,
    "crash": Outcome.CRASHED,
    "lost": Outcome.INFRASTRUCTURE,
    "oom": Outcome.OUT_OF_MEMORY,
    "killed": Outcome.KILLED,
}


def story(text: str) -> list[Ended]:
    """Return attempts told as words such as `A3:crash`: trial 3 crashed on device A."""
    return [
        _ended(int(word[1:].partition(":")[0]), word[0], LETTERS[word.partition(":")[2]], moment)
        for moment, word in enumerate(text.split(), start=1)
    ]


def _ended(trial: int, device: str, outcome: Outcome, moment: int) -> Ended:
    attempt = AttemptRecord(
        id=moment,
        number=1,
        slot=f"lab:{device}",
        started_at=0.0,
        finished_at=float(moment),
        outcome=outcome,
        reason=f"why {moment}",
        seconds=1.0,
    )
    return Ended(trial, attempt)


def suspicion(text: str, device: str = "A", since: float = 0.0) -> Suspicion:
    return Suspicion(f"lab:{device}", story(text), since)


def judge(text: str, devices: str = "AB") -> list[Conviction]:
    recent = story(text)
    return convictions([Suspicion(f"lab:{name}", recent, 0.0) for name in devices], recent)


@dataclass(frozen=True)
class Case:
    id: str
    story: str
    row: list[int] = field(default_factory=list)
    """Trials of device A's newest failures in a row, newest first."""
    holds_back: bool = False


@pytest.mark.parametrize(
    "case",
    [
        Case("nothing happened", ""),
        Case("one failure", "A0:ok A1:crash", [1]),
        Case("two in a row", "A1:crash A2:lost", [2, 1], holds_back=True),
        Case("another device has had its say", "A1:crash A2:crash B3:ok", [2, 1]),
        Case("it had it before the second failure", "A1:crash B3:ok A2:crash", [2, 1], True),
        Case("a good end clears it", "A1:crash A2:crash A3:ok"),
        Case("so does one that was pruned", "A1:crash A2:crash A3:pruned"),
        Case("lack of memory says nothing", "A1:crash A3:oom A2:crash", [2, 1], holds_back=True),
        Case("a kill says nothing", "A1:crash A3:killed A2:crash", [2, 1], holds_back=True),
        Case("a trial that failed elsewhere later", "A1:crash A2:crash B1:crash", [2]),
        Case("a trial that failed elsewhere before", "B1:crash A1:crash A2:crash", [2]),
        Case("it failed on one, did well on another", "A1:crash B1:crash C1:ok", [1]),
    ],
    ids=lambda case: case.id,
)
def test_what_speaks_against_a_device(case: Case) -> None:
    found = suspicion(case.story)
    assert [ended.trial for ended in found.row] == case.row
    assert found.holds_back is case.holds_back


def test_what_was_before_a_reset_is_forgiven() -> None:
    text = "A1:crash A2:crash B1:ok B2:ok"
    assert suspicion(text).verdict() is not None
    assert suspicion(text, since=3.0).row == []
    assert suspicion(text, since=3.0).verdict() is None


def test_two_trials_that_did_well_elsewhere_convict() -> None:
    assert judge("A1:crash A2:lost B1:ok") == []
    ((device, reason, failures),) = judge("A1:crash A2:lost B1:ok B2:pruned")
    assert (device, reason) == ("lab:A", "trials 1, 2 failed on it and ended well on other devices")
    assert {ended.trial for ended in failures} == {1, 2}


def test_one_trial_that_did_well_elsewhere_may_be_chance() -> None:
    assert judge("A1:crash A1:crash B1:ok") == []


def test_three_trials_lost_in_a_row_convict_while_others_do_well() -> None:
    assert judge("A1:lost A2:lost A3:lost B9:oom") == []
    assert judge("B9:ok A1:lost A2:lost A3:lost") == []
    ((device, reason, _),) = judge("A1:lost A2:lost B9:ok A3:lost")
    assert device == "lab:A"
    assert reason == "it lost 3 trials in a row (why 4), while other devices did well"


def test_crashes_alone_convict_nobody() -> None:
    assert judge("A1:crash A2:crash A3:crash A4:crash B9:ok") == []


def test_devices_that_lose_all_convict_each_other_if_they_once_worked() -> None:
    lost = " A1:lost A2:lost B3:lost B4:lost A3:lost A4:lost B1:lost B2:lost"
    assert judge(lost) == []
    found = judge("A0:ok" + lost)
    assert [conviction.device for conviction in found] == ["lab:A", "lab:B"]
    assert {ended.trial for conviction in found for ended in conviction.failures} == {1, 2, 3, 4}
    assert "no other device does better" in found[0].reason


def test_one_trial_that_is_lost_again_and_again_convicts_nobody() -> None:
    assert judge("A0:ok B0:ok A1:lost B1:lost A1:lost A2:lost B2:lost") == []


ATTEMPTS = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from("ABC"), st.sampled_from([*LETTERS.values()])),
    max_size=30,
)


def _recent(told: list[tuple[int, str, Outcome]]) -> list[Ended]:
    return [_ended(*attempt, moment) for moment, attempt in enumerate(told, start=1)]


@given(ATTEMPTS)
def test_a_device_on_which_nothing_failed_is_never_convicted(
    told: list[tuple[int, str, Outcome]],
) -> None:
    told = [each for each in told if not (each[1] == "A" and each[2] in SUSPICIOUS)]
    recent = _recent(told)
    found = convictions([Suspicion(f"lab:{d}", recent, 0.0) for d in "ABC"], recent)
    assert "lab:A" not in [conviction.device for conviction in found]
    assert not Suspicion("lab:A", recent, 0.0).holds_back


@given(ATTEMPTS, st.sampled_from(sorted(SUSPICIOUS)), st.randoms())
def test_trials_that_fail_everywhere_convict_nobody(
    told: list[tuple[int, str, Outcome]], failure: Outcome, rng: random.Random
) -> None:
    """Trials 0 to 4 fail on every device, each on two at least; the others never fail."""
    fail = [(trial, device, failure) for trial, device, _ in told if trial < 5]
    again = [(trial, "ABC"["ABC".index(device) - 1], failure) for trial, device, _ in fail]
    well = [(trial, d, o) for trial, d, o in told if trial >= 5 and o not in SUSPICIOUS]
    mixed = fail + again + well
    rng.shuffle(mixed)
    recent = _recent(mixed)
    for device in "ABC":
        assert Suspicion(f"lab:{device}", recent, 0.0).verdict() is None
