"""Classify small tables by their nearest neighbours; the score is the accuracy on hidden rows.

As it stands the recipe fails and `k` is sought far from where it should be.

luthier optimise pipeline.py     lets a language model edit `space` and `recipe`; Optuna tunes `k`.
"""

import numpy as np
from luthier.agent.workflow import Case, Feedback, Param, Suite, op, param
from luthier.agent.workflow.inner import tuned
from luthier.agent.workflow.sandbox import call
from luthier.tools.space import SearchSpace

RECIPE = """\
def predict(train_x, train_y, test_x, k):
    import numpy as np
    x, y, t = np.array(train_x), np.array(train_y), np.array(test_x)
    distances = ((t[:, None] - x[None]) ** 2).sum(axis=2)
    near = distances.argsort(axis=1)[:, :k]
    votes = [np.bincount(y[row]).argmax() for row in near]
    return votes.tolist()
"""

params = [
    Param.json(
        "space",
        {"parameters": {"k": {"type": "int", "low": 40, "high": 60}}},
        SearchSpace,
        "the range in which the number of neighbours is tuned",
    ),
    Param.code("recipe", RECIPE, "trains on a table and predicts the classes of other rows"),
]


@op
def choose_k(rows, classes):
    """Tune k on the last third of the training rows."""
    cut = 2 * len(rows) // 3
    held = np.array(classes[cut:])

    def accuracy(configurations):
        inputs = [(rows[:cut], classes[:cut], rows[cut:], c["k"]) for c in configurations]
        answers = call(param("recipe"), "predict", inputs)
        return [float(np.mean(np.array(answer) == held)) for answer in answers]

    return tuned(param("space"), accuracy, trials=4)[0]["k"]


@op
def predict(rows, classes, hidden_rows, k):
    """Predict the classes of the hidden rows."""
    return call(param("recipe"), "predict", [(rows, classes, hidden_rows, k)])[0]


def workflow(table):
    rows, classes, hidden_rows = table
    return predict(rows, classes, hidden_rows, choose_k(rows, classes))


def table(seed):
    """Make a table whose classes only the first of three columns tells, on a small scale."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 2, 130)
    rows = rng.normal(0, 5, (130, 3))
    rows[:, 0] = 0.5 * classes + rng.normal(0, 0.12, 130)
    return rows.round(3).tolist(), classes.tolist()


TABLES = {f"table{seed:02}": table(seed) for seed in range(20)}


def score(case, answer):
    truth = np.array(TABLES[case.name][1][90:])
    if not isinstance(answer, list) or len(answer) != len(truth):
        return Feedback(0.0, "one class for every hidden row is wanted")
    share = float(np.mean(np.array(answer) == truth))
    return Feedback(share, f"{share:.0%} of the hidden rows are right")


suite = Suite(
    [Case(name, (x[:90], y[:90], x[90:])) for name, (x, y) in TABLES.items()],
    score,
    max_drop=0.1,
)
