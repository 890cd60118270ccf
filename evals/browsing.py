"""The web UI as a process of its own, and a headless Chromium that looks at it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from selenium.webdriver import Chrome

SECONDS = 60.0
"""How long anything is waited for; generous, for a loaded machine."""
_ADDRESS = re.compile(r"http://[\w.:]+")


def missing() -> str | None:
    """Return why there is no browser to look with, None if there is one."""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        return "needs chromium and chromedriver (Debian: apt install chromium chromium-driver)"
    return None


@dataclass
class Served:
    """A UI process."""

    url: str
    pid: int
    wait: Callable[[], object]
    """Waits for its end."""

    def kill(self) -> None:
        """End it as an out-of-memory killer would."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()


@contextlib.contextmanager
def served(workspace: Path, project: Path, port: int | None = None) -> Iterator[Served]:
    """Serve the UI of a workspace, and end it in the end.

    Args:
        workspace: The workspace's folder, which need not be there.
        project: Where `luthier ui` is called.
        port: The port; a free one if None.
    """
    command = [sys.executable, "-m", "luthier.app", "ui"]
    if port is not None:
        command += ["--port", str(port)]
    environment = {**os.environ, "LUTHIER_HOME": str(workspace)}
    with subprocess.Popen(
        command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = _ADDRESS.search(process.stdout.readline())
            if address is None:
                raise RuntimeError(f"the UI did not come up; it ended with {process.wait()}")
            yield Served(address[0], process.pid, process.wait)
        finally:
            process.terminate()


@contextlib.contextmanager
def forked(workspace: Path, project: Path, port: int | None = None) -> Iterator[Served]:
    """Serve as `served` does, by a fork of a process that has spent the seconds of the imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["luthier.app.cli", "luthier.app.ui.page"])
    output, said = context.Pipe(duplex=False)
    environment = {**os.environ, "LUTHIER_HOME": str(workspace)}
    process = context.Process(target=_serve, args=(project, port, environment, said))
    process.start()
    said.close()
    with output, os.fdopen(os.dup(output.fileno())) as lines:
        try:
            address = _ADDRESS.search(lines.readline())
            if address is None or process.pid is None:
                raise RuntimeError("the UI did not come up")
            yield Served(address[0], process.pid, process.join)
        finally:
            process.terminate()
            process.join()


def _serve(project: Path, port: int | None, environment: dict[str, str], said: Connection) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(project)
    os.dup2(said.fileno(), sys.stdout.fileno())
    sys.argv[1:] = ["ui"] if port is None else ["ui", "--port", str(port)]
    runpy.run_module("luthier.app", run_name="__main__")


@contextlib.contextmanager
def chromium() -> Iterator[Chrome]:
    """Open a headless Chromium with a profile of its own."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    with tempfile.TemporaryDirectory() as profile:
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        browser = webdriver.Chrome(
            options=options, service=Service(str(shutil.which("chromedriver")))
        )
        try:
            yield browser
        finally:
            browser.quit()


def resize(browser: Chrome, width: int, height: int, *, phone: bool = False) -> None:
    """Make the page as large as a screen."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def until(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Look until a condition holds, and return what it returned."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.02)
    return value


_FOUND = (
    "const found = [...document.querySelectorAll(arguments[0])].find((e) => "
    "e.checkVisibility() && (e.innerText ?? e.textContent).includes(arguments[1])); "
)


def shows(browser: Chrome, selector: str, text: str = "") -> Callable[[], bool]:
    """Return a condition: an element is seen, and its text holds `text`."""
    return lambda: bool(browser.execute_script(f"{_FOUND} return Boolean(found)", selector, text))


def click(browser: Chrome, selector: str, text: str = "") -> None:
    """Click the first element that is seen and whose text holds `text`, when it is there."""
    until(shows(browser, selector, text), f"{selector} {text!r}")
    browser.execute_script(f"{_FOUND} found.click()", selector, text)
