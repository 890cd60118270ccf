"""Trials that a person wants, in a study that runs or is taken up."""

from luthier.tools.study import Study

from .conftest import Lab


def tried(study: Study) -> list[float]:
    return [float(trial.configuration["x"]) for trial in study.trials()]


def test_it_is_the_next_trial_and_counts_as_one_of_the_budget(lab: Lab) -> None:
    study = lab.create(budget={"trials": 3})
    lab.ledger.wish(study.record, "enqueue", configuration={"x": 1.25})
    assert lab.run(study).state == "finished"
    first, *others = study.trials()
    assert (first.source, first.configuration) == ("person", {"x": 1.25})
    assert len(others) == 2
    assert "wants it tried" in study.decisions()[0].reason
    assert [e.trial for e in study.events() if e.kind == "enqueued"] == [0]


def test_a_wish_is_granted_once_whoever_takes_the_study_up(lab: Lab) -> None:
    study = lab.create(budget={"trials": 1})
    lab.ledger.wish(study.record, "enqueue", configuration={"x": 1.25})
    lab.run(study)
    lab.ledger.wish(study.record, "resume", budget={"trials": 2})
    lab.run(study)
    assert tried(study).count(1.25) == 1


def test_what_the_budget_or_the_space_does_not_hold_is_refused_with_the_reason(lab: Lab) -> None:
    study = lab.create(budget={"trials": 1})
    lab.ledger.wish(study.record, "enqueue", configuration={"x": 9.0})
    lab.ledger.wish(study.record, "enqueue", configuration={"x": 1.5})
    lab.ledger.wish(study.record, "enqueue", configuration={"x": 1.75})
    lab.run(study)
    assert tried(study) == [1.5]
    reasons = [e.data["reason"] for e in study.events() if e.kind == "refused"]
    assert "parameter 'x' " in reasons[0]
    assert "all 1 trials are used" in reasons[1]
