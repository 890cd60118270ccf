"""The example of workflow optimisation: a recipe that fails and a space that is off are mended."""

import json
from pathlib import Path

import pytest
from luthier.agent.workflow import Settings, Suite, optimise
from luthier.agent.workflow.files import load_pipeline
from luthier.agent.workflow.propose import Edit, Proposal, Proposed
from luthier.agent.workflow.represent import Problem
from luthier.agent.workflow.sandbox import available

EXAMPLE = Path(__file__).parents[1] / "examples" / "pipeline" / "pipeline.py"


class Told:
    """Mends what fails, then, at once, the recipe that looks at noise and the space around k."""

    name = "told"

    def propose(self, problem: Problem, count: int, seed: int, refused: str = "") -> list[Proposed]:
        assert problem.allowed == {"space", "recipe"}
        before = problem.params["recipe"]
        if "in line 7: 'list' object has no attribute 'tolist'" in problem.runs[0].feedback:
            recipe = before.replace("votes.tolist()", "[int(vote) for vote in votes]")
            edit = Edit(param="recipe", new_value_json=json.dumps(recipe), why="")
            return [Proposed(Proposal(diagnosis="votes is a list", edits=[edit]))]
        recipe = before.replace(".sum(axis=2)", "[:, :, 0]")
        space = {"parameters": {"k": {"type": "int", "low": 3, "high": 25}}}
        edits = [
            Edit(param=name, new_value_json=json.dumps(value), why="")
            for name, value in (("recipe", recipe), ("space", space))
        ]
        return [Proposed(Proposal(diagnosis="the scale hides the column", edits=edits))]


@pytest.mark.skipif(available() is not None, reason=str(available()))
def test_code_and_space_are_edited_together_and_the_sealed_tables_agree() -> None:
    found = load_pipeline(EXAMPLE)
    small = Suite(found.suite.cases[:10], found.suite.score, max_drop=found.suite.max_drop)
    done = optimise(found.workflow, found.params, small, Told(), settings=Settings(steps=2))
    for edit, changed in zip(done.edits, ({"recipe"}, {"recipe", "space"}), strict=True):
        assert edit.decision == "accepted", edit.reason
        assert edit.changes.keys() == changed
    assert done.sealed is not None
    assert done.sealed.mean > 0.8
    assert done.low_evidence
