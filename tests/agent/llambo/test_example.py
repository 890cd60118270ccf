"""The example of a plain Optuna script."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_example_runs_without_a_model_and_says_so():
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("LUTHIER", "OPENAI"))}
    script = ROOT / "examples" / "llambo_in_optuna.py"

    run = subprocess.run(
        [sys.executable, str(script)], env=variables, check=True, capture_output=True, text=True
    )

    assert "'fallback': 'no language model'" in run.stdout
