"""Whose checkpoints are, and when they go."""

import pytest
from luthier.tools import checkpoints
from luthier.tools.outcomes import Outcome
from luthier.tools.records import TrialRecord
from luthier.tools.reporting import save_checkpoint
from luthier.tools.spec import parse_spec

SPEC = parse_spec(
    {
        "name": "small",
        "objective": {"kind": "callable", "reference": "m:f"},
        "space": {"x": {"type": "float", "low": 0, "high": 1}},
        "metrics": {"loss": {"direction": "minimize"}},
    }
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A trial's folder for checkpoints, with this process as the trial."""
    (tmp_path / "config.json").write_text('{"x": 0.5}')
    monkeypatch.setenv("LUTHIER_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setenv("LUTHIER_CHECKPOINT", str(tmp_path / "checkpoint"))
    monkeypatch.setenv("LUTHIER_KEEP_LAST", "2")
    return tmp_path / "checkpoint"


def trial(number, state=Outcome.COMPLETE, loss=0.5):
    return TrialRecord(number, number, state, "", {"x": 0.5}, {"loss": loss}, "sobol", 0.0, 1.0)


def test_a_checkpoint_belongs_to_the_configuration_that_wrote_it(folder):
    assert not checkpoints.belongs_to_another(folder, {"x": 0.5})
    save_checkpoint("state")
    assert not checkpoints.belongs_to_another(folder, {"x": 0.5})
    assert checkpoints.belongs_to_another(folder, {"x": 0.25})


def test_the_newest_readable_checkpoint_says_whose_they_are(folder):
    save_checkpoint("state")
    save_checkpoint("state")
    (folder / "00000002.ckpt").write_bytes(b"luthier2, torn")
    assert not checkpoints.belongs_to_another(folder, {"x": 0.5})
    assert checkpoints.belongs_to_another(folder, {"x": 0.25})
    (folder / "00000001.ckpt").write_bytes(b"")
    assert not checkpoints.belongs_to_another(
        folder, {"x": 0.25}
    )  # the trial will say it is damaged


def test_what_a_kill_left_half_written_is_cleared_away_and_nothing_else(folder):
    save_checkpoint("state")
    for name in ("00000002.ckpt.77.tmp", "model.bin", "mine.tmp"):
        (folder / name).write_bytes(b"")
    checkpoints.prepare(folder)
    assert {path.name for path in folder.iterdir()} == {"00000001.ckpt", "model.bin", "mine.tmp"}


def test_a_folder_is_empty_until_something_is_written_there(folder):
    assert checkpoints.is_empty(folder)
    checkpoints.prepare(folder)
    assert checkpoints.is_empty(folder)
    (folder / "00000001.ckpt.77.tmp").touch()
    assert checkpoints.is_empty(folder)
    (folder / "model.bin").touch()
    assert not checkpoints.is_empty(folder)
    checkpoints.discard(folder)
    assert checkpoints.is_empty(folder)


@pytest.mark.parametrize(
    ("trials", "kept", "go"),
    [
        ([trial(0)], {0}, set()),
        ([trial(0, loss=0.5), trial(1, loss=0.4)], {0, 1}, {0}),
        ([trial(0, loss=0.5), trial(1, loss=0.6)], {0, 1}, {1}),
        ([trial(0, loss=0.5), trial(1, loss=0.6)], {1}, {1}),
        ([trial(0, loss=0.5), trial(1, Outcome.PRUNED, loss=0.4)], {0}, set()),
        ([trial(0, Outcome.CRASHED)], set(), set()),
    ],
)
def test_of_complete_trials_only_the_best_keeps_its_checkpoints(trials, kept, go):
    assert checkpoints.superseded(SPEC, trials, kept) == go


def test_every_trial_on_the_front_keeps_its_checkpoints():
    two = SPEC.to_dict()["metrics"] | {"ms": {"direction": "minimize"}}
    spec = parse_spec(SPEC.to_dict() | {"metrics": two})

    def at(number, loss, ms):
        made = trial(number)
        made.metrics.update(loss=loss, ms=ms)
        return made

    front = [at(0, 0.5, 1.0), at(1, 0.4, 2.0)]
    assert checkpoints.superseded(spec, [*front, at(2, 0.3, 3.0)], {0, 1, 2}) == set()
    assert checkpoints.superseded(spec, [*front, at(2, 0.3, 1.5)], {0, 1, 2}) == {1}
