"""Which language model a person has set up, if any, and where its key is."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    create_model,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from ...tools.config_file import ConfigFileError, read_table, write_table
from ...tools.errors import LuthierError
from ...tools.workspace import Workspace

OPENAI_URL = "https://api.openai.com/v1"
"""Where a key without a URL belongs."""
HOW_TO = (
    "set LUTHIER_LLM_BASE_URL, LUTHIER_LLM_MODEL and, if the endpoint wants a key, "
    "LUTHIER_LLM_API_KEY"
)


class SettingsError(LuthierError, ValueError):
    """A language model that is half set up."""


class Settings(BaseModel):
    """A language model that can be called."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    base_url: str
    """What comes before `/chat/completions`, such as `http://127.0.0.1:8080/v1`."""
    model: str = Field(min_length=1)
    """The model's name at the endpoint."""
    api_key: SecretStr | None = None
    """None for an endpoint that wants none."""
    seconds: float = Field(default=120.0, gt=0)
    """Deadline of a call that names none, in seconds; repeats and repairs included."""
    request_seconds: float = Field(default=60.0, gt=0)
    """Seconds after which one request of a call is given up, and repeated if there is time."""
    concurrency: int = Field(default=4, ge=1)
    """Most requests at a time."""
    context: int | None = Field(default=None, gt=0)
    """Tokens of the longest conversation, if known; `luthier doctor` tries it out."""
    input_dollars: float | None = Field(default=None, ge=0)
    """Price of a million prompt tokens; by default what the table of prices says, if anything."""
    output_dollars: float | None = Field(default=None, ge=0)
    """Price of a million answered tokens."""

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be a URL such as http://127.0.0.1:8080/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("must have no key or query in it; the key goes into `api_key`")
        return value.rstrip("/")

    @property
    def host(self) -> str:
        """The endpoint's host."""
        return urlsplit(self.base_url).hostname or ""


class _Prefixed(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="LUTHIER_LLM_", env_ignore_empty=True, hide_input_in_errors=True
    )


_TEXTS: dict[str, Any] = {
    name: (SecretStr | None if name == "api_key" else str | None, None)
    for name in Settings.model_fields
}
_Environment = create_model("_Environment", __base__=_Prefixed, **_TEXTS)
"""What the environment says, before it is known to be enough."""


def load_settings(workspace: Workspace | None = None, **arguments: Any) -> Settings | None:
    """Return the language model that is set up, None if there is none.

    Arguments count before `LUTHIER_LLM_*`, those before the table `[llm]` of the workspace's
    `secrets.toml` and `config.toml`, and those before `OPENAI_BASE_URL`, `OPENAI_API_KEY` and
    `OPENAI_MODEL`. A key of OpenAI's variables is only sent where they, or nobody, say; and these
    alone, without a model, set nothing up: they are there for other programs, too. A workspace that
    is switched offline has none, unless arguments name one.

    Args:
        workspace: Where the files are; None for no files.
        arguments: Fields of `Settings`; None counts as not given.

    Raises:
        SettingsError: If something is missing, wrong, or readable by others.
    """
    files = _files(workspace.folder) if workspace is not None else {}
    given = {name: value for name, value in arguments.items() if value is not None}
    if files.pop("offline", False) is True and not given:
        return None
    try:
        found = {**files, **_Environment().model_dump(exclude_none=True), **given}
        complete = _complete(found, os.environ)
        return None if complete is None else Settings.model_validate(complete)
    except ValidationError as error:
        raise _told(error) from None


def _complete(found: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Add what OpenAI's variables say, and see that it is enough."""
    theirs = {
        name: environment[f"OPENAI_{name.upper()}"]
        for name in ("base_url", "model", "api_key")
        if environment.get(f"OPENAI_{name.upper()}")
    }
    if not found.keys() & {"base_url", "model", "api_key"} and "model" not in theirs:
        return None
    if "model" not in found:
        if "model" not in theirs:
            raise SettingsError(f"the language model has no name: {HOW_TO}")
        found["model"] = theirs["model"]
    if "base_url" not in found:
        if "api_key" not in found and "api_key" in theirs:
            found["api_key"] = theirs["api_key"]
        if "base_url" in theirs:
            found["base_url"] = theirs["base_url"]
        elif "api_key" in found:
            found["base_url"] = OPENAI_URL
        else:
            raise SettingsError(f"the model {found['model']!r} has neither URL nor key: {HOW_TO}")
    return found


def store_settings(
    workspace: Workspace,
    *,
    base_url: str,
    model: str,
    api_key: str | None = None,
    offline: bool = False,
) -> None:
    """Write a language model to the workspace's files, the key to one that nobody else can read.

    Args:
        workspace: Where the files are.
        base_url: What comes before `/chat/completions`; empty for that of OpenAI's variables.
        model: The model's name; empty to set none up.
        api_key: The key; None to leave the one that is stored, empty to remove it.
        offline: Whether it is not to be used, whatever is set up.

    Raises:
        SettingsError: If the URL makes no sense; nothing is written then.
        ConfigFileError: If a file cannot be written.
    """
    given = {"base_url": base_url, "model": model}
    if model and base_url:
        try:
            Settings.model_validate(given)
        except ValidationError as error:
            raise _told(error) from None
    elif base_url:
        raise SettingsError("the language model has no name: give the model, too")
    if api_key is not None:
        secrets = workspace.folder / "secrets.toml"
        write_table(secrets, "llm", {"api_key": api_key or None}, mode=0o600)
    config = {**{name: value or None for name, value in given.items()}, "offline": offline or None}
    write_table(workspace.folder / "config.toml", "llm", config)


def is_offline(workspace: Workspace) -> bool:
    """Tell whether the language model is switched off in this workspace.

    Raises:
        SettingsError: If the file cannot be read.
    """
    return _table(workspace.folder / "config.toml").get("offline") is True


def _files(folder: Path) -> dict[str, Any]:
    """Return what the workspace's files say."""
    config = _table(folder / "config.toml")
    if "api_key" in config:
        raise SettingsError(
            f"{folder / 'config.toml'} holds a key; move `api_key` to {folder / 'secrets.toml'}, "
            "readable by you alone"
        )
    secrets = folder / "secrets.toml"
    if secrets.exists() and (mode := stat.S_IMODE(secrets.stat().st_mode)) & 0o077:
        raise SettingsError(f"{secrets} has mode {mode:04o}, others could read it: chmod 600 it")
    return {**config, **_table(secrets)}


def _table(path: Path) -> dict[str, Any]:
    """Return the table `[llm]` of a file, empty if there is none."""
    try:
        return read_table(path, "llm")
    except ConfigFileError as error:
        raise SettingsError(str(error)) from None


def _told(error: ValidationError) -> SettingsError:
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(map(str, first["loc"]))
    reason = str(first["msg"]).removeprefix("Value error, ")
    return SettingsError(f"the language model's `{name}`: {reason}; {HOW_TO}")
