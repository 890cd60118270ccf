"""Where the settings of a language model come from, and what is wrong with half of them."""

import os
from pathlib import Path

import pytest
from luthier.agent.llm.settings import (
    OPENAI_URL,
    Settings,
    SettingsError,
    is_offline,
    load_settings,
    store_settings,
)
from luthier.tools.config_file import ConfigFileError
from luthier.tools.workspace import Workspace

URL = "http://127.0.0.1:8080/v1"


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("LUTHIER_LLM_", "OPENAI_")):
            monkeypatch.delenv(name)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def write(workspace: Workspace, config: str = "", secrets: str = "") -> None:
    (workspace.folder / "config.toml").write_text(config, encoding="utf-8")
    path = workspace.folder / "secrets.toml"
    path.write_text(secrets, encoding="utf-8")
    path.chmod(0o600)


def key_of(settings: Settings | None) -> str | None:
    assert settings is not None
    return settings.api_key.get_secret_value() if settings.api_key else None


def test_nothing_set_up_is_a_normal_state(workspace: Workspace) -> None:
    assert load_settings(workspace) is None


def test_a_local_server_needs_no_key() -> None:
    settings = load_settings(base_url=URL + "/", model="m")

    assert settings == Settings(base_url=URL, model="m")
    assert key_of(settings) is None


def test_the_environment_sets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BASE_URL": URL, "MODEL": "m", "API_KEY": "k", "CONTEXT": "8192"}.items():
        monkeypatch.setenv(f"LUTHIER_LLM_{name}", value)
    settings = load_settings()

    assert settings is not None
    assert (settings.base_url, settings.model, settings.context) == (URL, "m", 8192)
    assert key_of(settings) == "k"


def test_arguments_come_before_the_environment_and_that_before_files(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        workspace,
        f'[llm]\nbase_url = "{URL}"\nmodel = "file"\nseconds = 7\nconcurrency = 2\ncontext = 1',
        '[llm]\napi_key = "file-key"',
    )
    monkeypatch.setenv("LUTHIER_LLM_MODEL", "environment")
    monkeypatch.setenv("LUTHIER_LLM_SECONDS", "8")
    monkeypatch.setenv("OPENAI_MODEL", "theirs")
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    settings = load_settings(workspace, model="argument", context=None)

    assert settings is not None
    assert (settings.model, settings.seconds, settings.concurrency) == ("argument", 8.0, 2)
    assert settings.context == 1
    assert key_of(settings) == "file-key"


def test_openais_variables_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert load_settings() is None  # it may be there for another program

    monkeypatch.setenv("OPENAI_MODEL", "m")
    settings = load_settings()
    assert settings is not None
    assert (settings.base_url, key_of(settings)) == (OPENAI_URL, "k")

    monkeypatch.setenv("OPENAI_BASE_URL", URL)
    settings = load_settings(model="another")
    assert settings is not None
    assert (settings.base_url, settings.model, key_of(settings)) == (URL, "another", "k")


def test_openais_key_goes_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")

    assert key_of(load_settings(base_url=URL, model="m")) is None


def test_our_key_comes_before_openais(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    monkeypatch.setenv("OPENAI_BASE_URL", URL)
    monkeypatch.setenv("LUTHIER_LLM_API_KEY", "ours")
    settings = load_settings(model="m")

    assert settings is not None
    assert (settings.base_url, key_of(settings)) == (URL, "ours")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"base_url": URL}, "has no name: set LUTHIER_LLM_BASE_URL"),
        ({"api_key": "hush-hush"}, "has no name"),
        ({"model": "m"}, "'m' has neither URL nor key"),
        ({"base_url": "127.0.0.1:8080", "model": "m"}, "`base_url`: must be a URL such as"),
        ({"base_url": "http://me:hush-hush@here/v1", "model": "m"}, "no key or query in it"),
        ({"base_url": f"{URL}?key=hush-hush", "model": "m"}, "no key or query in it"),
        ({"base_url": URL, "model": "m", "seconds": -1}, "`seconds`: Input should be greater"),
        ({"base_url": URL, "model": "m", "input_dollars": "nan"}, "`input_dollars`"),
        ({"base_url": URL, "model": "m", "concurrency": "hush-hush"}, "`concurrency`"),
        ({"base_url": URL, "model": "m", "modell": "n"}, "`modell`"),
    ],
)
def test_half_a_configuration_is_one_clear_sentence(given: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as wrong:
        load_settings(**given)

    assert "hush" not in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_a_key_belongs_into_a_file_of_its_own(workspace: Workspace) -> None:
    write(workspace, '[llm]\napi_key = "hush-hush"')
    with pytest.raises(SettingsError, match=r"move `api_key` to .*secrets\.toml") as wrong:
        load_settings(workspace)

    assert "hush" not in str(wrong.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_secrets_that_others_can_read_are_refused(workspace: Workspace, mode: int) -> None:
    write(workspace, secrets='[llm]\napi_key = "hush-hush"')
    (workspace.folder / "secrets.toml").chmod(mode)
    with pytest.raises(SettingsError, match=f"has mode {mode:04o}.*chmod 600"):
        load_settings(workspace)


@pytest.mark.parametrize("text", ['[llm]\napi_key = "hush', "llm = 3", "\0"])
def test_a_file_that_cannot_be_read_is_named(workspace: Workspace, text: str) -> None:
    write(workspace, secrets=text)
    with pytest.raises(SettingsError, match=r"secrets\.toml") as wrong:
        load_settings(workspace)

    assert "hush" not in str(wrong.value)


def test_what_is_stored_is_loaded_and_the_key_is_readable_by_nobody_else(
    workspace: Workspace,
) -> None:
    (workspace.folder / "config.toml").write_text("# mine\n[other]\nx = 1\n", encoding="utf-8")
    store_settings(workspace, base_url=URL, model="m", api_key="sk-1")

    settings = load_settings(workspace)
    assert settings is not None
    assert (settings.base_url, settings.model, key_of(settings)) == (URL, "m", "sk-1")
    assert (workspace.folder / "secrets.toml").stat().st_mode & 0o777 == 0o600
    kept = (workspace.folder / "config.toml").read_text(encoding="utf-8")
    assert "# mine" in kept
    assert "x = 1" in kept
    assert "sk-1" not in kept


@pytest.mark.parametrize(("given", "key"), [(None, "sk-1"), ("", None), ("sk-2", "sk-2")])
def test_a_key_stays_is_removed_or_replaced(
    workspace: Workspace, given: str | None, key: str | None
) -> None:
    store_settings(workspace, base_url=URL, model="m", api_key="sk-1")
    store_settings(workspace, base_url=URL, model="m", api_key=given)

    assert key_of(load_settings(workspace)) == key


def test_an_offline_workspace_has_no_model_whatever_is_set_up(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_LLM_BASE_URL", URL)
    monkeypatch.setenv("LUTHIER_LLM_MODEL", "m")
    store_settings(workspace, base_url=URL, model="m", offline=True)

    assert load_settings(workspace) is None
    assert is_offline(workspace)
    assert load_settings(workspace, model="named") is not None
    store_settings(workspace, base_url=URL, model="m")
    assert load_settings(workspace) is not None


@pytest.mark.parametrize(
    ("url", "model", "words"), [("nonsense", "m", "base_url"), (URL, "", "has no name")]
)
def test_what_makes_no_sense_is_not_stored(
    workspace: Workspace, url: str, model: str, words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        store_settings(workspace, base_url=url, model=model, api_key="sk-1")
    assert not list(workspace.folder.iterdir())


def test_a_damaged_file_is_not_replaced(workspace: Workspace) -> None:
    write(workspace, config="[llm\n")
    with pytest.raises(ConfigFileError, match=r"cannot be read as TOML"):
        store_settings(workspace, base_url=URL, model="m")
    assert (workspace.folder / "config.toml").read_text() == "[llm\n"
