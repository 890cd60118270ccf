"""Our methods against stored runs of others, on a small folder made like theirs."""

import gzip
import json

import numpy as np
import pytest
from luthier.evals import published
from luthier.evals.task import EvalError
from sklearn.datasets import load_iris

SPACES = {
    "DecisionTree": {
        "max_depth": ["int", "linear", [1, 15]],
        "max_features": ["real", "logit", [0.01, 0.99]],
        "min_impurity_decrease": ["real", "linear", [0.0, 0.5]],
        "min_samples_leaf": ["real", "logit", [0.01, 0.49]],
        "min_samples_split": ["real", "logit", [0.01, 0.99]],
        "min_weight_fraction_leaf": ["real", "logit", [0.01, 0.49]],
    }
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five runs of 30 random trials of a tree on iris, with their true scores."""
    made = tmp_path_factory.mktemp("runs")
    x, y = load_iris(return_X_y=True)
    np.savez(made / "iris.npz", train_x=x, train_y=y)
    (made / "spaces.json").write_text(json.dumps(SPACES), encoding="utf-8")
    task = published.load_task(made, "iris", "DecisionTree")
    rng = np.random.default_rng(0)
    with gzip.open(made / "bayesmark_trajectories.jsonl.gz", "wt", encoding="utf-8") as file:
        for seed in range(published.SEEDS):
            for trial in range(published.TRIALS):
                config = task.space.sample(rng)
                score = -published.loss(made, "iris", "DecisionTree", config)
                row = {"dataset": "iris", "model": "DecisionTree", "seed": seed, "trial": trial}
                file.write(json.dumps({**row, "config": config, "score": score}) + "\n")
    return made


def test_the_command_runs_what_is_missing_and_prints_a_table(folder, tmp_path, capsys):
    output = tmp_path / "published.jsonl"
    command = [str(folder), "random", "--models", "DecisionTree", "--output", str(output)]
    assert published.main(command) == 0
    said = capsys.readouterr().out
    assert "reproduced to 0.0e+00" in said
    assert "DecisionTree  random" in said
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["seed"] for row in rows] == list(range(published.SEEDS))
    stored = published.read_runs(folder)["iris", "DecisionTree"]
    for row in rows:  # the first points are theirs
        assert row["losses"][: published.STARTS] == list(
            stored.losses[row["seed"]][: published.STARTS]
        )
        assert len(row["losses"]) == published.TRIALS

    assert published.main(command) == 0  # nothing is run twice
    assert len(output.read_text(encoding="utf-8").splitlines()) == published.SEEDS


def test_the_regret_is_0_for_the_best_that_is_stored_and_1_for_the_worst_first_point(folder):
    stored = published.read_runs(folder)["iris", "DecisionTree"]
    losses = np.concatenate(list(stored.losses.values()))
    first = np.concatenate([run[: published.STARTS] for run in stored.losses.values()])
    assert stored.regrets(np.array([first.max(), losses.min()])).tolist() == [1.0, 0.0]


def test_a_folder_without_runs_is_said(tmp_path):
    with pytest.raises(EvalError, match="does not hold LLAMBO's stored runs"):
        published.read_runs(tmp_path)
