"""The `StudySpec`: the one document that says what to tune, and how.

Every front end reads, shows and writes this document, as YAML or JSON.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from .adviser_spec import Adviser
from .errors import LuthierError
from .executor_spec import Executor
from .guard import Guard
from .pruner_spec import Pruner
from .section import Seconds, Section
from .space import Comparison, Configuration, Parameter, Scalar, SearchSpace, did_you_mean
from .textbook_names import is_seed_name


class SpecError(LuthierError, ValueError):
    """A spec that cannot be run; the message is one sentence with the place, value and way out."""


class ScriptObjective(Section):
    """A training script, run as it is in a process of its own."""

    kind: Literal["script"] = "script"
    command: list[str] = Field(min_length=1)
    """Argument list, never a shell string. A first word `python` means the Python that runs
    Luthier; give a path to use another environment's."""
    pass_by: Literal["arguments", "json", "environment", "constants"] = "arguments"
    """How the configuration goes in: command-line arguments; the JSON file named by LUTHIER_CONFIG
    (appended as `arguments["config"]` if that is set); environment variables; or literals replaced
    in memory, for a script whose parameters are constants."""
    arguments: dict[str, str] = Field(default_factory=dict)
    """Parameter to its argument: `--lr` (then the value), `lr=` (joined), `--amp/` (a flag, only
    when true), `/--no-amp` (only when false), `--amp/--no-amp`. With `environment`, the variable's
    name; with `constants`, the constant (`LR`, `Config.lr`). What is not listed is `--NAME`, or
    NAME itself."""
    seed_argument: str | None = None
    """The argument (variable, constant) that takes the seed, if the script has one; with `json`,
    an argument."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables to set for every trial."""

    def form_of(self, parameter: str) -> str | None:
        """Return the argument, variable or constant that a parameter is passed as, if it is one."""
        if self.pass_by == "json":
            return None
        named = f"--{parameter}" if self.pass_by == "arguments" else parameter
        return self.arguments.get(parameter, named)


class CallableObjective(Section):
    """A Python function that takes a configuration and returns or reports metrics."""

    kind: Literal["callable"] = "callable"
    reference: str
    """Where the function is: `module:function`; `__main__:function` is pickled by value."""


class RecipeObjective(Section):
    """Training code that comes with Luthier."""

    kind: Literal["recipe"] = "recipe"
    recipe: Literal["supervised"] = "supervised"
    """The recipe's name."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The recipe's own options (data, model, epochs, ...)."""


Objective = Annotated[
    ScriptObjective | CallableObjective | RecipeObjective, Field(discriminator="kind")
]


class Metric(Section):
    """A number that a trial reports."""

    direction: Literal["maximize", "minimize", "watch"]
    """What is wanted of it; `watch` records it without optimising it."""
    pattern: str | None = None
    """Where it stands in the script's standard output, as literal text with the placeholders
    `{value}` and, optionally, `{step}`; `*` stands for any text: `epoch {step} * val_acc={value}`.
    Without a pattern it comes from `luthier.report` or from JSON lines on standard output."""

    @model_validator(mode="after")
    def _check(self) -> Metric:
        if self.pattern is not None and self.pattern.count("{value}") != 1:
            raise ValueError(f"`pattern` must contain {{value}} once, but got {self.pattern!r}")
        if self.pattern is not None and self.pattern.count("{step}") > 1:
            raise ValueError(f"`pattern` may contain {{step}} once, but got {self.pattern!r}")
        return self


class Budget(Section):
    """What the study may use; None means no cap. At least one cap must be set."""

    trials: int | None = Field(default=50, gt=0)
    """Number of trials."""
    wall_seconds: Seconds | None = None
    """Seconds (or "10m", "2h") during which the study runs, summed over its runs."""
    device_seconds: Seconds | None = None
    """Seconds of device (or CPU slot) time, summed over the trials."""
    trial_seconds: Seconds | None = None
    """Seconds that one trial may take before it is stopped as timed out."""
    tokens: int | None = Field(default=None, gt=0)
    """Tokens of the language model; without any left, the study goes on without it."""
    dollars: float | None = Field(default=None, gt=0)
    """What the language model may cost, in dollars; likewise."""
    silence_seconds: Seconds | None = None
    """Seconds that one trial may run without a report before it counts as hung, and is stopped as
    timed out. Default: five times the longest complete trial, at least 10 minutes."""

    @model_validator(mode="after")
    def _check(self) -> Budget:
        if self.trials is None and self.wall_seconds is None and self.device_seconds is None:
            raise ValueError(
                "one of `trials`, `wall_seconds`, `device_seconds` must be set; "
                "a study without an end is not started"
            )
        return self


class Sampler(Section):
    """What proposes configurations."""

    kind: Literal["auto", "gp", "tpe", "random", "sobol"] = "auto"
    """`auto` chooses by the space and the number of trials."""
    start_up_trials: int | None = Field(default=None, gt=0)
    """Trials spread over the space before a model is trusted. Default: budget / 8 in [4, 10]."""
    first: list[dict[str, Scalar]] = Field(default_factory=list, max_length=100)
    """Values that you want tried, one trial each, before all others; a trial takes what is not
    named from the defaults, then from the textbook."""
    prior: Literal["textbook", "none"] = "textbook"
    """`textbook`: where the parameters' names are known from practice, some of these trials have
    values that a textbook recommends; not with the kinds `random` and `sobol`."""


class Confirm(Section):
    """How the result is confirmed once the study has come to its end."""

    repeats: int = Field(default=0, ge=0, le=1000)
    """How often the best configuration and the runner-up are run again, on fresh seeds. It costs
    none of the budget's trials, but of its time, of which the search leaves up to half for it.
    Fewer than 3 confirm nothing, 5 are sensible; 0 leaves it to `luthier confirm`."""


class StudySpec(Section):
    """What to tune, for what, within which limits."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """The study's name: letters, digits, `.`, `_`, `-`."""
    objective: Objective
    """What a trial runs."""
    space: dict[str, Parameter] = Field(min_length=1)
    """Parameter name to its range."""
    constraints: list[Comparison] = Field(default_factory=list)
    """Comparisons between parameters that every configuration satisfies: `warmup < steps`."""
    metrics: dict[str, Metric] = Field(min_length=1)
    """Metric name to its direction. Several directions make a multi-objective study."""
    limits: list[Comparison] = Field(default_factory=list)
    """Comparisons of a metric with a number that a good trial satisfies: `latency_ms <= 20`."""
    budget: Budget = Field(default_factory=Budget)
    executor: Executor = Field(default_factory=Executor)
    sampler: Sampler = Field(default_factory=Sampler)
    pruner: Pruner = Field(default_factory=Pruner)
    confirm: Confirm = Field(default_factory=Confirm)
    guard: Guard | None = None
    """Protects a hold-out set from being fitted by the search."""
    adviser: Adviser = Field(default_factory=Adviser)
    seed: int = Field(default=0, ge=0, lt=1 << 32)
    """Seed of the sampler and of every trial. Never tuned."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_from_recipe(cls, data: Any) -> Any:
        objective = data.get("objective") if isinstance(data, dict) else None
        if not (isinstance(objective, dict) and objective.get("kind") == "recipe"):
            return data
        from .recipes import supervised

        try:
            options = supervised.Options.model_validate(objective.get("options", {}))
        except ValidationError as error:
            raise ValueError(f"objective.options: {describe(error)}") from None
        filled = dict(data)
        if "space" not in data:
            filled["space"] = dict(supervised.space(options).parameters)
        if "metrics" not in data:
            name, direction = supervised.metric(options)
            filled["metrics"] = {name: {"direction": direction}}
        return filled

    @model_validator(mode="after")
    def _check(self) -> StudySpec:
        _ = self.search_space
        if not self.objectives:
            raise ValueError("`metrics` must hold one to maximize or minimize, all are watched")
        for limit in self.limits:
            if isinstance(limit.right, str):
                raise ValueError(f"limit '{limit}' must compare a metric with a number")
            if limit.left not in self.metrics:
                raise ValueError(
                    f"limit '{limit}' names an unknown metric {limit.left!r}"
                    + did_you_mean(limit.left, self.metrics)
                )
        for rule in self.pruner.stop_if:
            if rule.comparison.left not in self.metrics:
                raise ValueError(
                    f"`pruner.stop_if` names an unknown metric {rule.comparison.left!r}"
                    + did_you_mean(rule.comparison.left, self.metrics)
                )
        if isinstance(self.objective, ScriptObjective):
            known = [*self.space, "config"]
            for name in self.objective.arguments:
                if name not in known:
                    raise ValueError(
                        f"`objective.arguments` names an unknown parameter {name!r}"
                        + did_you_mean(name, known)
                    )
        if self.confirm.repeats and len(self.objectives) > 1:
            raise ValueError(
                "`confirm.repeats` needs a single metric to maximize or minimize, but there are "
                f"{', '.join(map(repr, self.objectives))}; leave it out"
            )
        if self.guard is not None:
            self._check_guard(self.guard)
        self._check_first()
        self._check_seeds()
        return self

    def _check_guard(self, guard: Guard) -> None:
        for field, name in (("hold_out", guard.hold_out), ("training", guard.training)):
            if name not in self.metrics:
                raise ValueError(
                    f"`guard.{field}` names an unknown metric {name!r}"
                    + did_you_mean(name, self.metrics)
                )
        if guard.hold_out == guard.training:
            raise ValueError(f"`guard` compares {guard.hold_out!r} with itself; name two metrics")
        if any(rule.comparison.left == guard.hold_out for rule in self.pruner.stop_if):
            raise ValueError(
                f"`pruner.stop_if` looks at {guard.hold_out!r} at every step, past its guard; take "
                "another metric"
            )

    def _check_first(self) -> None:
        for place, values in enumerate(self.sampler.first):
            for name, value in values.items():
                if name not in self.space:
                    raise ValueError(
                        f"`sampler.first[{place}]` names an unknown parameter {name!r}"
                        + did_you_mean(name, self.space)
                    )
                try:
                    self.space[name].check(value)
                except ValueError as error:
                    raise ValueError(f"`sampler.first[{place}]`: {name!r} {error}") from None
        for place, whole in enumerate(self.first_configurations):
            try:
                self.search_space.validate_configuration(whole)
            except ValueError as error:
                raise ValueError(f"`sampler.first[{place}]`: {error}") from None
            for name in self.sampler.first[place].keys() - whole.keys():
                raise ValueError(
                    f"`sampler.first[{place}]`: {name!r} is not active there: it needs "
                    f"{self.space[name].when}"
                )

    @cached_property
    def first_configurations(self) -> list[Configuration]:
        """The configurations that a person wants tried before all others."""
        if not self.sampler.first:
            return []
        from .textbook import prior_of

        space = self.search_space
        defaults = {n: p.default for n, p in self.space.items() if p.default is not None}
        # The most typical one comes first; the others have branches that it is not in.
        textbook = prior_of(space).configurations(8, self.seed)
        return [space.complete(values, defaults, *textbook) for values in self.sampler.first]

    def _check_seeds(self) -> None:
        """Refuse a space that tunes the seed: the luckiest one says nothing about the others."""
        for name in self.space:
            if is_seed_name(name):
                raise ValueError(
                    f"parameter {name!r} is named like a seed, and seeds are never tuned; take it "
                    "out of `space`, or give it another name if it is none"
                )
            if isinstance(self.objective, ScriptObjective):
                form = self.objective.form_of(name)
                if form is not None and form == self.objective.seed_argument:
                    raise ValueError(
                        f"parameter {name!r} is passed as {form!r}, which is the `seed_argument`, "
                        "and seeds are never tuned; take it out of `space`"
                    )

    @cached_property
    def search_space(self) -> SearchSpace:
        """The parameters with the constraints between them."""
        return SearchSpace(parameters=self.space, constraints=self.constraints)

    @property
    def objectives(self) -> dict[str, Literal["maximize", "minimize"]]:
        """The optimised metrics with their directions, in the spec's order."""
        return {
            name: metric.direction
            for name, metric in self.metrics.items()
            if metric.direction != "watch"
        }

    @property
    def required(self) -> list[str]:
        """The metrics without which a trial is not complete."""
        guarded = [] if self.guard is None else [self.guard.hold_out, self.guard.training]
        return list(dict.fromkeys([*self.objectives, *guarded]))

    def to_dict(self) -> dict[str, Any]:
        """Return every field, defaults included, as JSON-ready data."""
        return self.model_dump(mode="json")

    def to_yaml(self, *, resolved: bool = False) -> str:
        """Return the document as YAML; `resolved` writes the defaults out too."""
        data = self.to_dict() if resolved else self.model_dump_explicit()
        return yaml.dump(data, Dumper=SpecDumper, sort_keys=False, allow_unicode=True)

    def model_dump_explicit(self) -> dict[str, Any]:
        """Return what differs from the defaults, as JSON-ready data; kinds and types are kept."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        data["objective"] = {"kind": self.objective.kind} | data.get("objective", {})
        for name, parameter in self.space.items():
            data["space"][name] = {"type": parameter.type} | data["space"][name]
        return data

    def content_hash(self) -> str:
        """Return the SHA-256 of the canonical JSON of every field but the name, in hex."""
        data = {key: value for key, value in self.to_dict().items() if key != "name"}
        text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Change:
    """One difference between two specs."""

    path: str
    """Where, as in `space.lr.high`."""
    kind: Literal["added", "removed", "changed"]
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.kind == "added":
            return f"{self.path}: added {self.after!r}"
        if self.kind == "removed":
            return f"{self.path}: removed {self.before!r}"
        return f"{self.path}: {self.before!r} -> {self.after!r}"


def diff(before: StudySpec, after: StudySpec) -> list[Change]:
    """Return the differences from one spec to another, in the document's order; names excluded."""
    old, new = before.to_dict(), after.to_dict()
    del old["name"], new["name"]
    return list(_diff("", old, new))


def _diff(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for key in dict.fromkeys([*before, *after]):
        where = f"{path}.{key}" if path else key
        if key not in before:
            yield Change(where, "added", None, after[key])
        elif key not in after:
            yield Change(where, "removed", before[key], None)
        elif isinstance(before[key], dict) and isinstance(after[key], dict):
            yield from _diff(where, before[key], after[key])
        elif before[key] != after[key]:
            yield Change(where, "changed", before[key], after[key])


def parse_spec(data: Any, source: str = "the spec") -> StudySpec:
    """Validate a spec given as plain data.

    Raises:
        SpecError: With one sentence for the first thing that is wrong.
    """
    if not isinstance(data, dict):
        raise SpecError(f"{source} must be a mapping of fields, but it is {type(data).__name__}")
    try:
        return StudySpec.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{source}: {describe(error)}") from None


def load_spec(path: Path) -> StudySpec:
    """Read a YAML or JSON spec.

    Raises:
        SpecError: If the file is missing, does not parse, or is not a valid spec.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SpecError(f"cannot read spec {str(path)!r}: {reason}; check the path") from None
    return read_spec(text, str(path))


def read_spec(text: str, source: str = "the spec") -> StudySpec:
    """Read a spec from YAML or JSON text.

    Raises:
        SpecError: If it does not parse, or is not a valid spec.
    """
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise SpecError(f"{source} is not valid YAML{_yaml_problem(error)}") from None
    return parse_spec(data, source)


def _yaml_problem(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f": {' '.join(str(error).split())}"
    mark = error.problem_mark
    return f": {error.problem} in line {mark.line + 1}, column {mark.column + 1}"


def describe(error: ValidationError) -> str:
    """Turn pydantic's first error into a sentence: the place, the rule, the value, the way out."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    # pydantic adds the union's tag to the path; a person did not write it there.
    if path[:1] == ["objective"]:
        del path[1:2]
    elif path[:1] == ["space"]:
        del path[2:3]
    place = ".".join(path)
    match first["type"]:
        case "extra_forbidden":
            hint = did_you_mean(path[-1], _field_names())
            return f"unknown field {place!r}{hint if 'did you mean' in hint else ''}"
        case "missing":
            hint = "; write maximize, minimize or watch" if path[-1] == "direction" else ""
            return f"field {place!r} is missing{hint}"
        case "string_pattern_mismatch":
            return (
                f"{place}: use at most 100 letters, digits, `.`, `_` and `-`, beginning with a "
                f"letter or digit, but got {first['input']!r}"
            )
        case "value_error":
            message = str(first["ctx"]["error"])
            return f"{place}: {message}" if place else message
        case "union_tag_invalid":
            tag = first["ctx"]["tag"]
            return f"{place}.kind must be one of {first['ctx']['expected_tags']}, but got {tag!r}"
        case "union_tag_not_found":
            kinds = "'script', 'callable', 'recipe'"
            return f"{place}.kind must be one of {kinds}, but it is missing"
        case _:
            return f"{place}: {first['msg']}, but got {first['input']!r}"


def _field_names() -> list[str]:
    names: list[str] = []
    schema = StudySpec.model_json_schema()
    for definition in [schema, *schema["$defs"].values()]:
        names += definition.get("properties", {})
    return sorted(set(names))


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: `1e-3` is a number, `on` is text, a key stands once."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":bool", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class SpecDumper(yaml.SafeDumper):
    """Writes YAML so that text which a spec's reader would take for a number is quoted."""


for _class in (_Loader, SpecDumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def _mapping_without_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable) or key in mapping:
            problem = "stands twice" if isinstance(key, Hashable) else "is not a name"
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} {problem}", key_node.start_mark
            )
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_duplicates)
