"""The settings of a workspace, typed into a real page."""

from collections.abc import Callable
from typing import Any

import pytest
from luthier.agent.approvals import Policy, load_policy
from luthier.agent.llm.settings import load_settings
from luthier.evals.advisers import minds
from luthier.evals.advisers.server import serve
from luthier.evals.browsing import Served, click, shows, until
from selenium.webdriver.common.by import By

from .conftest import Bench

Open = Callable[..., Served]


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASE_URL", "MODEL", "API_KEY"):
        monkeypatch.delenv(f"LUTHIER_LLM_{name}", raising=False)
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)


def see(browser: Any, selector: str, text: str = "") -> None:
    until(shows(browser, selector, text), f"{selector} with {text!r}")


def type_in(browser: Any, selector: str, text: str) -> None:
    see(browser, selector)
    field = browser.find_element(By.CSS_SELECTOR, selector)
    field.clear()
    field.send_keys(text)


def test_a_model_is_set_up_tried_and_switched_off_and_its_key_is_never_shown(
    bench: Bench, page: Open, browser: Any
) -> None:
    with serve(minds.novice(0)) as server:
        page("?panel=settings")
        see(browser, "#lu-in-effect", "No language model is set up")
        type_in(browser, "#lu-endpoint input, #lu-endpoint textarea", server.url)
        type_in(browser, "#lu-model input, #lu-model textarea", server.model)
        type_in(browser, "#lu-key input", "sk-very-secret")
        click(browser, "#lu-save")
        see(browser, "#lu-saved", "Saved")
        see(browser, "#lu-in-effect", server.model)
        assert browser.find_element(By.CSS_SELECTOR, "#lu-key input").get_attribute("value") == ""
        settings = load_settings(bench.workspace)
        assert settings is not None
        assert settings.api_key is not None
        assert settings.api_key.get_secret_value() == "sk-very-secret"

        click(browser, "#lu-test")
        see(browser, "#lu-probe table", "chat")
        browser.refresh()
        see(browser, "#lu-in-effect", "secrets.toml")
        assert "sk-very-secret" not in browser.page_source

        click(browser, "#lu-offline input")
        click(browser, "#lu-save")
        see(browser, "#lu-in-effect", "Offline")
        assert load_settings(bench.workspace) is None


def test_when_a_conversation_asks_is_chosen(bench: Bench, page: Open, browser: Any) -> None:
    page("?panel=settings")
    see(browser, "#lu-in-effect", "ask before everything")
    click(browser, "#lu-level label", "Ask above")
    type_in(browser, "#lu-level-seconds input", "30")
    click(browser, "#lu-save")
    see(browser, "#lu-in-effect", "more than 30")
    assert load_policy(bench.workspace) == Policy("above", 30)


def test_what_makes_no_sense_is_said_and_nothing_is_kept(
    bench: Bench, page: Open, browser: Any
) -> None:
    page("?panel=settings")
    type_in(browser, "#lu-endpoint input, #lu-endpoint textarea", "no-url")
    type_in(browser, "#lu-model input, #lu-model textarea", "m")
    click(browser, "#lu-save")
    see(browser, "#lu-saved [role=alert]", "base_url")
    assert not (bench.workspace.folder / "config.toml").exists()
