"""What a wish to tune says of how much and of what, as words of the command `/tune`.

Numbers, times and limits are read as people write them; what is read is taken out of the text, so
that the rest can be shown to whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

THE_SCRIPT = "\0"
"""Stands for the script's path in a text that is read."""
_START = r"(?<![A-Za-z0-9_.-])"
_END = r"(?![A-Za-z])"
_UNITS = {
    "s": r"s(?:ec(?:ond)?s?)?|secondes?|sekunden?|segundos?|秒",
    "m": r"m(?:in(?:ute)?s?)?|mintues?|minuten|minutos?|minuti|分钟|分間?",
    "h": r"h(?:(?:ou)?rs?|our)?|stunden?|heures?|horas?|小时|時間",
    "d": r"d(?:ays?)?|tagen?|jours?|d[ií]as?",
}
_TIME = r"(?P<count>\d+(?:\.\d+)?)[\s-]*(?:" + "|".join(
    f"(?P<{unit}>{words})" for unit, words in {"ms": "ms|milliseconds?", **_UNITS}.items()
) + f"){_END}"  # fmt: skip
_TRIALS = (
    r"trials?|trails|runs?|experiments?|tries|attempts|config(?:uration)?s?|combinations"
    r"|versuche|durchläufe|essais|intentos|pruebas|次|回"
)
_NUMBER = r"(?:10\^-?\d+|\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*%?"
_ONE = r"(?:(?:the|a)\s+)?[A-Za-z_]\w*(?:\s(?:size|rate|decay|smoothing|units))?"
_NAMES = rf"(?P<names>{_ONE}(?:(?:\s*,\s*(?:and\s+)?|\s+and\s+|\s*&\s*){_ONE})*)"
_NO_NAMES = frozenset(
    "all everything it them those these this that one hyperparameters hyperparameter parameters "
    "params model network script training my the a tune search vary optimise optimize "
    "change".split()
)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.I)


_NUMBER_OF_TRIALS = _pattern(
    rf"{_START}(\d{{1,6}})\s*(?:(?:different|more|new|random)\s+)?(?:{_TRIALS}){_END}"
    r"|\btrials?\s*[=:]\s*(\d{1,6})\b"
)
_DURATION = _pattern(rf"{_START}{_TIME}")
_DEVICE_TIME = _pattern(
    rf"{_START}(?P<count>\d+(?:\.\d+)?)[\s-]*(?:gpu|device|cpu|core)[\s-]*"
    r"(?:(?P<h>h(?:ours?)?)|(?P<m>min(?:ute)?s?))\b"
)
_TRIAL_TIME = _pattern(
    r"\b(?:no|each|every|per|any|one|a)\s+(?:single\s+)?(?:trial|run)\b[^.,;\d]*" + _TIME
)
_TIME_PER_TRIAL = _pattern(rf"{_START}{_TIME}\s*(?:for\s+)?(?:each|per|a|every)\s+(?:trial|run)\b")
_SLOTS = _pattern(
    rf"{_START}(\d{{1,4}})\s*(?:(?:trials?|runs?|of\s+them)\s+)?(?:at\s+(?:a|the\s+same)\s+time"
    r"|at\s+once|in\s+parallel|simultaneously|concurrently|jobs?\b|workers?\b)"
)
_RANGE = _pattern(
    rf"\b(?P<name>[A-Za-z_]\w*)\s*(?:=|:|between|from|in)\s*(?P<low>{_NUMBER})\s*"
    rf"(?:and|to|\.\.|-|–)\s*(?P<high>{_NUMBER})"
)
_FIXED = (
    _pattern(
        rf"\b(?:keep|fix|leave|hold)\s+{_NAMES}\s+(?:fixed|constant|alone|unchanged|as\s+\w+\s+\w+)"
    ),
    _pattern(rf"\b{_NAMES}\s+(?:is|are|stays?|must\s+stay)\s+(?:fixed|constant)"),
    _pattern(
        rf"\b(?:don'?t|do\s+not|never|without)\s+(?:touch|chang|tun|vary)(?:e|ing)?\s+{_NAMES}"
    ),
    _pattern(rf"\b(?:except|but\s+not)\s+(?:for\s+)?{_NAMES}"),
)
_ONLY = (
    _pattern(rf"\b(?:only|just)\s+(?:tune|search|vary|optimi[sz]e|change)?\s*{_NAMES}"),
    _pattern(
        rf"\b(?:tune|vary|search|optimi[sz]e)\s+{_NAMES}\s+(?:of|in|from|for)\s*(?={THE_SCRIPT})"
    ),
    _pattern(r"\b(?:best|tune|optimi[sz]e|search)\s+(?:random\s+)?(?P<names>seeds?)\b"),
)


_AT_MOST = _pattern(
    r"\b(?:not?|never|don'?t|do\s+not|nothing)\s+(?:\w+\s+){0,2}(?:more|longer)\s+than\b"
)


class Conditions(NamedTuple):
    """What was read of a wish, and what was not."""

    words: list[str]
    """As `/tune` takes them: `20 trials`, `30m`, `slots=2`, `only=lr,dropout`, `lr=0.001..0.1`."""
    rest: str
    clash: bool
    """Whether two of its numbers contradict each other."""


def read_conditions(text: str) -> Conditions:
    """Read a wish, in which `THE_SCRIPT` stands for the script.

    "twenty trials, half an hour, only lr, 2 at a time" becomes `20 trials`, `30m`, `only=lr`,
    `slots=2`.
    """
    reader = _Reader(in_digits(text))
    of_one = [*reader.take(_TRIAL_TIME), *reader.take(_TIME_PER_TRIAL)]
    reader.text = _AT_MOST.sub("at most", reader.text)
    words = [f"slots={found[1]}" for found in reader.take(_SLOTS)]
    words += [f"device_time={_time(found)}" for found in reader.take(_DEVICE_TIME)]
    words += [f"trial_time={_time(found)}" for found in of_one]
    trials = {found[1] or found[2] for found in reader.take(_NUMBER_OF_TRIALS)}
    words += [
        f"{found['name']}={_number(found['low'])}..{_number(found['high'])}"
        for found in reader.take(_RANGE)
    ]
    times = {_time(found) for found in reader.take(_DURATION)}
    for key, patterns in (("fixed", _FIXED), ("only", _ONLY)):
        names = [n for pattern in patterns for f in reader.take(pattern) for n in _names(f)]
        words += [f"{key}={','.join(dict.fromkeys(names))}"] if names else []
    keys = [word.partition("=")[0] for word in words]
    budget = [f"{number} trials" for number in trials] + sorted(times)
    clash = len(trials) > 1 or len(times) > 1 or len(set(keys)) < len(keys)
    return Conditions([*budget, *words], reader.text, clash)


class _Reader:
    """A text that loses what is read of it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def take(self, pattern: re.Pattern[str]) -> list[re.Match[str]]:
        found = list(pattern.finditer(self.text))
        self.text = pattern.sub(" ", self.text)
        return found


def _time(found: re.Match[str]) -> str:
    unit = next(name for name in ("ms", *_UNITS) if found.groupdict().get(name))
    if unit == "ms":
        return f"{float(found['count']) / 1000:g}s"
    return f"{found['count']}{unit}"


def _number(text: str) -> str:
    power = re.fullmatch(r"10\^(-?\d+)", text.strip())
    if power is not None:
        return f"{10.0 ** int(power[1]):g}"
    value = text.replace("%", "").strip()
    return f"{float(value) / 100:g}" if "%" in text else value


def _names(found: re.Match[str]) -> Iterator[str]:
    for part in re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+|\s*&\s*", found["names"]):
        name = re.sub(r"^(?:the|a)\s+", "", part.strip(), flags=re.I)
        if name.lower() not in _NO_NAMES:
            yield "_".join(name.split())


_ONES = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_BELOW_100 = {word: number for number, word in enumerate(_ONES, start=1)} | {
    word: 10 * number for number, word in enumerate(_TENS, start=2)
}
_WORD = "|".join(sorted(_BELOW_100, key=len, reverse=True))
_PHRASES = (
    (
        _pattern(r"\b(?:an|one|1)\s+hour\s+and\s+a\s+half\b|\bone\s+and\s+a\s+half\s+hours\b"),
        "90 minutes",
    ),
    (_pattern(r"\bhalf\s+an\s+hour\b"), "30 minutes"),
    (_pattern(r"\b(?:a\s+)?quarter\s+of\s+an\s+hour\b"), "15 minutes"),
    (_pattern(r"\ban\s+hour\b"), "1 hour"),
    (_pattern(r"\bhalf\s+a\s+day\b"), "12 hours"),
    (_pattern(r"\bhalf\s+a\s+dozen\b"), "6"),
    (_pattern(r"(?<=\d),(?=\d{3}\b)"), ""),
)
_HOURS_AND_MINUTES = _pattern(
    r"(?<![\w.])(?P<h>\d+)\s*(?:h|hours?)\s*(?:and\s+)?(?P<m>\d+)\s*(?:m|mins?|minutes?)\b"
)
_DOZENS = _pattern(rf"\b(?P<n>a|\d+|{_WORD})\s+dozens?\b(?:\s+of)?")
_HUNDREDS = _pattern(rf"\b(?P<n>a|{_WORD})\s+(?P<of>hundred|thousand)\b")
_TENS_AND_ONES = _pattern(rf"\b(?P<ten>{'|'.join(_TENS)})[\s-]+(?P<one>{'|'.join(_ONES[:9])})\b")
_MORE = "|".join(word for word in _BELOW_100 if word != "one")  # "one trial" is often any trial
_ALONE = _pattern(
    rf"\b(?:{_MORE})\b(?=[\s-]+(?:\w+\s+)?(?:{_TRIALS}|hours?|minutes?|mins?|seconds?|days?|at|in\s+parallel|jobs?|workers?|gpu|device|cpu)\b)"
)


def in_digits(text: str) -> str:
    """Write the numbers of a text in digits: "two dozen trials" becomes "24 trials"."""
    for pattern, digits in _PHRASES:
        text = pattern.sub(digits, text)
    text = _HOURS_AND_MINUTES.sub(lambda f: f"{60 * int(f['h']) + int(f['m'])}m", text)
    text = _DOZENS.sub(lambda found: str(12 * _value(found["n"])), text)
    text = _HUNDREDS.sub(
        lambda f: str(_value(f["n"]) * (100 if f["of"].lower() == "hundred" else 1000)), text
    )
    text = _TENS_AND_ONES.sub(lambda f: str(_value(f["ten"]) + _value(f["one"])), text)
    return _ALONE.sub(lambda found: str(_value(found[0])), text)


def _value(word: str) -> int:
    word = word.lower()
    return int(word) if word.isdecimal() else 1 if word == "a" else _BELOW_100[word]
