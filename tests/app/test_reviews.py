"""`luthier reviews`: what was said of a study, how right it was, and its ranges as a branch."""

import json
from pathlib import Path

import pytest
from luthier.tools.ledger import open_ledger
from luthier.tools.outcomes import Outcome, Verdict
from luthier.tools.records import Decision
from luthier.tools.reviews import KIND, Range, Review, View
from luthier.tools.spec import load_spec, parse_spec
from luthier.tools.workspace import Workspace

from .conftest import Luthier

SPEC = {
    "name": "small",
    "objective": {"kind": "script", "command": ["python", "train.py"]},
    "space": {
        "lr": {"type": "float", "low": 1e-4, "high": 1.0, "log": True, "default": 0.5},
        "width": {"type": "int", "low": 8, "high": 64},
    },
    "metrics": {"acc": {"direction": "maximize"}},
    "budget": {"trials": 20},
}
LR = Range(parameter="lr", low=0.01, high=0.1, why="[bold]high[/bold] ones diverge")
WIDTH = Range(parameter="width", low=9.5, high=20.5, why="small is enough")


@pytest.fixture
def reviewed(tmp_path: Path, luthier: Luthier) -> Review:
    """A study of six trials, reviewed before the last one."""
    (tmp_path / "train.py").write_text("", encoding="utf-8")
    ledger = open_ledger(Workspace(tmp_path / "home").ledger_path)
    writer = ledger.acquire(ledger.create_study(parse_spec(SPEC), tmp_path))
    view = View(low=0.5, high=0.9, ranges=(LR, WIDTH), repeat=(3,), text="It goes well.")
    rule = View(low=0.5, high=0.55, text="So says the rule.")
    review = Review(
        trials=5, best=0.5, model=view, rule=rule, hypothesis="lr", risk="luck", prompt="review@1"
    )
    for number in range(6):
        if number == 5:
            writer.note(KIND, **review.model_dump(mode="json"))
        configuration = {"lr": 0.02, "width": 8 + number}
        trial = writer.add_trial(number, configuration, Decision("gp", ""), "cpu:0", 1.0)
        verdict = Verdict(Outcome.COMPLETE, "")
        metrics = {"acc": (0.5, 0.4, 0.3, 0.5, 0.2, 0.8)[number]}
        writer.finish_attempt(
            trial,
            verdict,
            metrics=metrics,
            seconds=1.0,
            peak_bytes=None,
            error_tail="",
            again=False,
        )
    writer.release()
    ledger.close()
    return review


def test_both_sides_are_shown_with_what_they_earned(luthier: Luthier, reviewed: Review) -> None:
    shown = luthier("reviews", "small").out
    for text in ("It goes well.", "So says the rule.", "[bold]high[/bold]", "worth repeating"):
        assert text in shown
    assert "model 0.4, held 1 times, rule 2.55, held 0 times (model is better)" in shown

    told = json.loads(luthier("reviews", "small", "--json").out)
    assert told["reviews"] == [reviewed.model_dump(mode="json")]
    assert told["credit"][0]["better"] == "model"


def test_ranges_are_taken_up_as_a_branch_with_a_diff_and_a_reason(
    luthier: Luthier, reviewed: Review, tmp_path: Path
) -> None:
    taken = luthier("reviews", "small", "--take", "narrow.yaml")
    assert taken.code == 0
    assert "space.lr.high: 1.0 -> 0.1" in taken.out
    assert "width: small is enough" in taken.out

    narrow = load_spec(tmp_path / "narrow.yaml")
    width = narrow.space["width"].model_dump()
    assert (width["low"], width["high"]) == (10, 20)
    assert narrow.space["lr"].default is None
    assert "Made study small-narrower from small" in luthier("branch", "small", "narrow.yaml").out
    again = luthier("reviews", "small", "--take", "narrow.yaml")
    assert (again.code, "is there already" in again.err) == (2, True)


def test_a_study_without_reviews_says_how_to_get_them(luthier: Luthier, tmp_path: Path) -> None:
    ledger = open_ledger(Workspace(tmp_path / "home").ledger_path)
    ledger.create_study(parse_spec(SPEC), tmp_path)
    ledger.close()
    assert "has no review" in luthier("reviews", "small").out
