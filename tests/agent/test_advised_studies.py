"""Whole studies in a pretend lab with a language model behind a real endpoint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from luthier.agent.advice import MODEL_SOURCES
from luthier.evals.advisers import faults, minds
from luthier.evals.advisers.dialect import Endpoint
from luthier.evals.advisers.server import Server, serve
from luthier.evals.lab_runs import create, lab_spec, run
from luthier.tools.database import open_database
from luthier.tools.space import Configuration
from luthier.tools.study import Study

KEY = "sk-never-to-be-seen"
NONE = {"kind": "none"}


@pytest.fixture
def endpoint() -> Iterator[Server]:
    with serve(minds.textbook(), Endpoint(key=KEY)) as server:
        yield server


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASE_URL", "MODEL", "API_KEY"):
        monkeypatch.delenv(f"LUTHIER_LLM_{name}", raising=False)
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)


@pytest.fixture
def configured(endpoint: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    use(monkeypatch, endpoint.url)
    return endpoint


def use(monkeypatch: pytest.MonkeyPatch, url: str, key: str = KEY) -> None:
    monkeypatch.setenv("LUTHIER_LLM_BASE_URL", url)
    monkeypatch.setenv("LUTHIER_LLM_MODEL", "simulated")
    monkeypatch.setenv("LUTHIER_LLM_API_KEY", key)


def tuned(folder: Path, name: str = "lab", trials: int = 16, **changes: Any) -> Study:
    """Run a study on one pretend device to its end."""
    folder.mkdir(exist_ok=True)
    spec = lab_spec(trials, [{}], name=name, sampler={"kind": "auto"}, **changes)
    study = create(open_database(folder / "ledger.db"), spec)
    run(study)
    return study


def tried(study: Study) -> list[Configuration]:
    return [trial.configuration for trial in study.trials()]


def models_trials(study: Study) -> list[int]:
    return [trial.number for trial in study.trials() if trial.source in MODEL_SOURCES]


def causes(study: Study) -> list[str]:
    return [event.data["cause"] for event in study.events() if event.kind == "no_advice"]


def tokens(study: Study) -> float:
    return study.ledger.spending(study.record, "tokens")[0]


def test_the_model_proposes_trials_that_say_what_it_expected(
    configured: Server, tmp_path: Path
) -> None:
    study = tuned(tmp_path)
    assert len(study.trials()) == 16
    decisions = study.decisions()
    late = [n for n in models_trials(study) if decisions[n].source == "llambo"]
    assert late
    for number in late:
        expected = decisions[number].prediction
        assert expected is not None
        assert expected.low <= expected.mean <= expected.high
        assert "candidates@" in decisions[number].prompt_version


def test_every_token_that_the_endpoint_counted_is_in_the_ledger(
    configured: Server, tmp_path: Path
) -> None:
    study = tuned(tmp_path)
    told = [event.data for event in study.events() if event.kind == "advice"]
    assert tokens(study) == sum(data["tokens"] for data in told) > 0
    assert sum("exam" in data for data in told) == 1
    assert sum(data["calls"] for data in told) == len(configured.received)


def test_without_an_endpoint_nothing_is_different_from_the_classical_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = tuned(tmp_path / "alone")
    with serve(minds.textbook()) as server:
        dead = server.url
    use(monkeypatch, dead)
    study = tuned(tmp_path / "dead")
    assert tried(study) == tried(alone)
    assert set(causes(study)) <= {"connection", "circuit_open"}
    assert causes(study)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [(faults.malformed(), "malformed"), (faults.empty(), "empty"), (faults.huge(), "malformed")],
)
def test_answers_that_are_of_no_use_are_counted_with_their_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Any, cause: str
) -> None:
    alone = tuned(tmp_path / "alone", trials=8)
    with serve(minds.textbook(), faults=faults.always(fault)) as server:
        use(monkeypatch, server.url)
        study = tuned(tmp_path / "advised", trials=8)
    assert set(causes(study)) == {cause}
    assert tried(study) == tried(alone)


def test_a_wrong_key_is_told_and_never_shown(
    endpoint: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, endpoint.url, key="sk-wrong-and-secret")
    study = tuned(tmp_path, trials=8)
    assert set(causes(study)) <= {"unauthorized", "circuit_open"}
    assert "unauthorized" in causes(study)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"sk-wrong-and-secret" not in path.read_bytes()


def test_the_key_is_nowhere_on_the_disk(configured: Server, tmp_path: Path) -> None:
    tuned(tmp_path)
    assert list((tmp_path / "recordings").rglob("*.json"))
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def test_when_its_tokens_are_used_the_study_goes_on_without_the_model(
    configured: Server, tmp_path: Path
) -> None:
    cap = round(0.6 * tokens(tuned(tmp_path / "free")))
    study = tuned(tmp_path / "capped", budget={"trials": 16, "tokens": cap})
    assert len(study.trials()) == 16
    assert "budget" in causes(study)
    assert 0 < tokens(study) <= cap


def test_a_study_is_replayed_from_its_recording_without_the_endpoint(
    configured: Server, tmp_path: Path
) -> None:
    study = tuned(tmp_path)
    assert models_trials(study)
    asked = len(configured.received)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "recordings").rename(tmp_path / "elsewhere" / "recordings")
    replayed = tuned(tmp_path / "elsewhere", name="again", adviser={"replay": "lab"})
    assert len(configured.received) == asked
    assert tried(replayed) == tried(study)
    assert models_trials(replayed) == models_trials(study)
    assert tokens(replayed) == tokens(study)


def test_a_study_whose_answers_cannot_be_kept_goes_on_without_the_model(
    configured: Server, tmp_path: Path
) -> None:
    alone = tuned(tmp_path / "alone", trials=8, adviser={"mode": "off"})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "recordings").write_text("no folder can be made here")
    study = tuned(tmp_path / "full", trials=8)
    assert tried(study) == tried(alone)
    assert set(causes(study)) == {"unrecorded"}
    assert tokens(study) > 0


def test_off_means_that_nothing_is_asked(configured: Server, tmp_path: Path) -> None:
    study = tuned(tmp_path, trials=8, adviser={"mode": "off"})
    assert not models_trials(study)
    assert not configured.received


def test_strict_gives_the_model_its_quarter_and_the_rest_is_the_classical_study(
    configured: Server, tmp_path: Path
) -> None:
    study = tuned(tmp_path / "strict", adviser={"mode": "strict"}, pruner=NONE)
    alone = tuned(tmp_path / "alone", adviser={"mode": "off"}, pruner=NONE)
    models = models_trials(study)
    assert 0 < len(models) <= 4
    own = [c for n, c in enumerate(tried(study)) if n not in models]
    assert own == tried(alone)[: len(own)]


def test_a_warm_start_begins_with_what_a_similar_study_of_the_workspace_found(
    configured: Server, tmp_path: Path
) -> None:
    first = tuned(tmp_path, trials=10)
    best = max(first.trials(), key=lambda trial: trial.metrics.get("val_acc", 0.0))
    second = tuned(tmp_path, name="again", trials=4)
    decisions = second.decisions()
    carried = [t for t in second.trials() if "study 'lab'" in decisions[t.number].reason]
    assert carried[0].configuration == best.configuration
    assert "at distance 0.00" in decisions[carried[0].number].reason
