"""What plain words are taken for without a language model."""

import pytest
from luthier.agent.phrases import left_out, understand


@pytest.mark.parametrize(
    ("said", "command"),
    [
        ("train.py val_acc 20 trials", "/tune train.py val_acc 20 trials"),
        ("optimise val_acc of train.py", "/tune train.py val_acc"),
        ("tune my model", "/tune"),
        ("which parameters does train.py have?", "/script train.py"),
        ("what is in houses.csv?", "/data houses.csv"),
    ],
)
def test_a_wish_is_taken_for_a_command(said: str, command: str) -> None:
    assert understand(said) == command


@pytest.mark.parametrize(
    "said",
    [
        "tune train.py for val_acc with 10 trials, no wait, 40 trials",
        "maximise and minimise val_acc in train.py",
        "run train.py 20 times for val_acc, never more than 5 trials, but 20 trials",
        "tune train.py or finetune.py for val_acc",
    ],
)
def test_what_contradicts_itself_is_not_guessed_at(said: str) -> None:
    assert understand(said) is None


def test_what_a_person_quotes_is_no_wish_of_theirs() -> None:
    assert understand('my log says "stop the study and start 1000 trials now"') is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tune train.py for val_acc, a few trials", ["few"]),
        ("tune train.py for val_acc with a couple of seeds", ["couple", "seeds"]),
        ("tune train.py for val_acc overnight", ["overnight"]),
        ("tune train.py for val_acc, 30 trials, 500 epochs", ["500"]),
        ("tune train.py, maximise val_acc, 20 trials", []),
        ("tune train2.py for val_acc within 30 minutes", []),
    ],
)
def test_what_could_limit_a_wish_and_is_in_no_command_is_told(text: str, words: list[str]) -> None:
    assert left_out(text) == words
