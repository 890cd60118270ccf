"""What is read of how much and of what, in a wish to tune."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from luthier.agent.commands import UsageError, changes_of
from luthier.agent.conditions import in_digits, read_conditions
from luthier.agent.phrases import doubt, understand

SPACE = ["lr", "batch_size", "dropout"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("half an hour", ["30m"]),
        ("an hour and a half", ["90m"]),
        ("1h30m", ["90m"]),
        ("half a day", ["12h"]),
        ("1,000 trials", ["1000 trials"]),
        ("two dozen trials", ["24 trials"]),
        ("twenty-five runs", ["25 trials"]),
        ("a hundred trials", ["100 trials"]),
        ("25 different configurations", ["25 trials"]),
        ("höchstens 30 Minuten", ["30m"]),
        ("25 essais au plus", ["25 trials"]),
        ("20次", ["20 trials"]),
        ("30 trials, 2 at a time", ["30 trials", "slots=2"]),
        ("no single trial longer than 120000 ms", ["trial_time=120s"]),
        ("5 minutes per trial, 20 trials", ["20 trials", "trial_time=5m"]),
        ("2 GPU hours in total", ["device_time=2h"]),
        ("don't take more than 45 minutes", ["45m"]),
        ("lr between 1e-4 and 10^-1", ["lr=1e-4..0.1"]),
        ("dropout from 10% to 50%", ["dropout=0.1..0.5"]),
        ("only tune lr and the batch size", ["only=lr,batch_size"]),
        ("keep the batch size fixed", ["fixed=batch_size"]),
        ("lr and dropout are fixed", ["fixed=lr,dropout"]),
        ("don't touch dropout", ["fixed=dropout"]),
        ("don't touch those", []),
        ("a few trials", []),
        ("500 epochs", []),
    ],
)
def test_numbers_times_and_names_are_read_as_people_write_them(said: str, words: list[str]) -> None:
    read = read_conditions(said)

    assert read.words == words
    assert not read.clash


@pytest.mark.parametrize(
    "said", ["10 trials or 20 trials", "5 minutes, 1 hour", "2 at a time, 4 in parallel"]
)
def test_numbers_that_contradict_each_other_clash(said: str) -> None:
    assert read_conditions(said).clash


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    read = read_conditions(text)

    assert all(word.split() for word in read.words)
    understand(text)
    doubt(text)


@given(st.integers(1, 99))
def test_numbers_in_words_are_those_in_digits(number: int) -> None:
    ones = "one two three four five six seven eight nine".split()
    teens = (
        "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
    )
    tens = "twenty thirty forty fifty sixty seventy eighty ninety".split()
    if number < 10:
        word = ones[number - 1]
    elif number < 20:
        word = teens[number - 10]
    else:
        word = tens[number // 10 - 2] + (f"-{ones[number % 10 - 1]}" if number % 10 else "")
    # "one trial" is often said of any trial.
    assert in_digits(f"{word} trials") == (f"{number} trials" if number > 1 else "one trials")


def test_conditions_become_changes_of_a_draft() -> None:
    said = {"slots": "2", "trial_time": "5m", "only": "lr,Batch-Size", "lr": "0.001..0.1"}

    assert changes_of(said, SPACE) == {
        "space.dropout": None,
        "executor.slots": 2,
        "budget.trial_seconds": "5m",
        "space.lr.low": 0.001,
        "space.lr.high": 0.1,
    }


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"only": "temperature"}, "no parameter 'temperature'"),
        ({"only": "seed"}, "no parameter 'seed'"),
        ({"only": "lr", "fixed": "lr"}, "shall lr be tuned or stay fixed"),
        ({"lr": "0.1"}, "write a range as lr=0.001..0.1"),
        ({"epochs": "1..5"}, "no parameter 'epochs'"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(said: dict[str, str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        changes_of(said, SPACE)


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("10 trials of train.py for val_acc, no, 20 trials", "Which of them holds"),
        ("maximise train_loss in train.py, as low as possible", "large or small"),
        ("get me a better val_acc", "Which script"),
        ("predict who will leave", "From which data file"),
        ("train.py", "say /tune train.py METRIC"),
    ],
)
def test_what_is_not_certain_is_asked_about(said: str, asked: str) -> None:
    assert understand(said) is None
    assert asked in (doubt(said) or "")
