"""What a person wants who types plain words: the commonest wishes, as commands; English only.

A wish that is not certain is none: what costs or ends something is never guessed at.
"""

from __future__ import annotations

import re

from ..tools.metric_words import direction_of, words_of
from .conditions import THE_SCRIPT, read_conditions

LONGEST_WISH = 1000
"""Characters; what is longer is a paste, not a wish."""
_SCRIPT = re.compile(r"[\"'`]([^\"'`]+\.py)[\"'`]|([^\s\"'`()]+\.py)\b")
_METRIC = re.compile(
    r"\b(maximi[sz]e|minimi[sz]e|maximum|minimum|highest|lowest|best|improve|increase|reduce|lower"
    r"|raise|decrease)\s+(?:the\s+|its\s+)?([A-Za-z][\w./-]*)",
    re.I,
)
_FOR_METRIC = re.compile(
    r"\bfor\s+(?:the\s+|best\s+|highest\s+|lowest\s+)*([A-Za-z]\w*_[\w.]+)", re.I
)
_NAME = re.compile(r"(?<![\w./-])[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+(?![\w/])", re.A)
_QUESTION = re.compile(r"\s*(?:what|which|why|how|show|list|describe|look)\b", re.I)
_DECLARED = re.compile(r"parameters?\b|metrics?\b|prints?\b|look at|describe", re.I)
_DATA = re.compile(r"[^\s\"'`]+\.(?:csv|parquet|npz)\b")
_MODEL = re.compile(r"->|\b(?:predict\w*|models?|networks?|train|learn|tune|target)\b", re.I)
_TARGET = re.compile(
    r"->\s*(\w+)|\b(?:column|target)\s+(?:(?:is|called|named|of)\s+)?[\"'`]?(\w+)"
    r"|\bpredict(?:s|ing)?\s+(?:the\s+)?(\w+)(?=\s+(?:from|in|of|with|using|on)\b)",
    re.I,
)
_OR = re.compile(r"\bor\s+[A-Za-z]\w*_\w", re.I)
_QUOTATION = re.compile(r"\"[^\"]{20,}\"|(?<!\w)'[^']{20,}'(?!\w)")
_REMEMBER = re.compile(
    r"\s*(?:please,?\s+)?(?:remember|from now on)\b(?:\s+that\b)?[\s:,]*(.+)", re.I | re.S
)
_BOTH = re.compile(r"maxim.*minim|minim.*maxim|maximi.*\blow|minimi.*\bhigh", re.I | re.S)
_TUNE = re.compile(r"\b(tune|optimi[sz]e|hyper-?parameters?|improve|search)\b", re.I)
_NOT = re.compile(r"\b(don'?t|do not|never|without|not|instead of)\b", re.I)
_LOW = re.compile(r"minim|lowest|reduce|lower|decrease", re.I)
_LIMIT = re.compile(
    r"\b(?:\d[\w.,:%-]*|half|quarter|dozen|couple|few|several|hundred|thousand|overnight|tonight"
    r"|(?:second|minute|hour|day)s?|at a time|at once|in parallel|seeds?|only|just|between"
    r"|fix(?:ed)?|keep|except|without|not)\b",
    re.I,
)
"""Words of a number, a time or a limit."""

_TRIAL = r"(?:trial|run|number|no\.?|#)\s*#?(?P<n>\d+)"
_STUDY = r"(?:\s+(?:the\s+)?(?:study\s+(?P<study>[\w.-]+)|(?P<named>[A-Za-z][\w.-]*[_\d][\w.-]*)))?"
_PATTERNS: tuple[tuple[str, str], ...] = (
    (rf"(?:stop|kill|end|cancel)\s+{_TRIAL}", "/stop-trial {n}"),
    (rf"(?:stop|cancel|abort|quit|halt)\b{_STUDY}", "/stop {study}"),
    (rf"(?:pause|hold(?:\s+on)?|take a break)\b{_STUDY}", "/pause {study}"),
    (rf"(?:resume|continue|go on|carry on|unpause)\b{_STUDY}", "/resume {study}"),
    (
        r"(?:why|how come|explain|tell me about|show|what (?:is|was|about|made|happened)"
        rf"|how (?:is|did))\b.*{_TRIAL}",
        "/why {n}",
    ),
    (
        r"\b(?:retry|re-?run|run)\b.*\b(?P<how>crashed|diverged|killed|pruned)\b",
        "/retry {how}",
    ),
    (
        r"\btry\s+(?P<name>(?!trials?\b)[A-Za-z_]\w*)\s*(?:=|of|at|to)?\s*(?P<value>-?\d[\w.+-]*)",
        "/try {name}={value}",
    ),
    (rf"(?:curve|learning|training)\b.*{_TRIAL}", "/curve {n}"),
    (r"compare\b\D*(?P<n>\d+)\D+(?P<m>\d+)", "/compare {n} {m}"),
    (r"(?:which|what)\b.*(?:matter|important|influence)|importance", "/importance {study}"),
    (
        r"\b(?:chance|luck|noise|significant)\b|confirm|repeat the best",
        "/confirm {study}",
    ),
    (r"\breport\b|summari[sz]e|write.*up", "/report {study}"),
    (r"\b(?:export|save|download)\b.*\b(?:best|winner|model|config\w*)\b", "/export {study}"),
    (r"\b(?:gpus?|devices?|machine|hardware|cores)\b", "/devices"),
    (r"\b(?:list|which|what|all|show)\b.*\bstudies\b", "/studies"),
    (r"\b(?:best|winner|winning|top|result|results|outcome)\b", "/best {study}"),
    (
        r"\b(?:status|progress|how far|how long|eta|finished|done|ready|running)\b"
        r"|how.*(?:going|doing)|what.*(?:happening|up)",
        "/status {study}",
    ),
    (r"\b(?:help|what can you|commands?|how do i)\b", "/help"),
)
_WISHES = [(re.compile(pattern, re.I), command) for pattern, command in _PATTERNS]
_RISKY = ("/stop", "/stop-trial", "/pause", "/resume", "/confirm", "/tune")


def understand(text: str) -> str | None:
    """Return the command for what a person typed, None if it is not certain.

    "tune train.py for val_acc within 30 minutes" becomes "/tune train.py val_acc 30m".
    """
    if len(text) > LONGEST_WISH:
        return None
    if lasting := _REMEMBER.fullmatch(text):
        return f"/remember {lasting[1]}"
    if (command := _tuning(text)) is not None:
        return command
    if _SCRIPT.search(text) is None:
        plain = _QUOTATION.sub(" ", text)  # what others said is no wish
        command = (
            _data(plain)
            or _model_of(plain)
            or _other(plain)
            or ("/tune" if _TUNE.search(plain) else None)
        )
    else:
        command = _script(text) or _other(_QUOTATION.sub(" ", text))
    if command is not None and _NOT.search(text) and command.startswith(_RISKY):
        return None
    return command


def _tuning(text: str) -> str | None:
    script = _SCRIPT.search(text)
    if script is None or _QUESTION.match(text) or len(set(_SCRIPT.findall(text))) > 1:
        return None
    whole = text.replace(script[0], THE_SCRIPT)
    said, metric = read_conditions(whole), _metric(whole)
    if said.clash or _NOT.search(said.rest) or not (_TUNE.search(text) or metric):
        return None
    if _BOTH.search(text):  # which of the two holds is the person's to say
        return None
    conditions = [word for word in said.words if word != f"only={''.join(metric[:1])}"]
    return " ".join(["/tune", _quoted(script), *metric, *conditions])


def doubt(text: str) -> str | None:
    """Return what must be asked about a wish that is not certain, None if it is like no wish."""
    script, data = _SCRIPT.search(text), _DATA.search(text)
    if (named := script or data) is None:
        if metric := _metric(text):
            return f"Which script? Say /tune SCRIPT {metric[0]}."
        if re.search(r"\bpredict\w*|\bforecast\w*", text, re.I):
            return "From which data file? Say /tune DATA TARGET, such as /tune people.csv income."
        return None
    said = read_conditions(text.replace(named[0], THE_SCRIPT))
    if said.clash:
        return f"Which of them holds: {', '.join(said.words)}? Say how many trials, or which time."
    if _BOTH.search(text):
        return "Should the metric be large or small? Say maximize or minimize."
    if found := _NOT.search(said.rest):
        return f"I am not sure what “{found[0]}” rules out; say it as a command, without that."
    if script is not None:
        return f"What shall I do with it? To tune it, say /tune {_quoted(script)} METRIC."
    return f"What shall I do with it? Say /data {named[0]}, or /tune {named[0]} TARGET."


def left_out(text: str) -> list[str]:
    """Return the words of a wish to tune that may limit it, and are in no part of its command."""
    rest = read_conditions(_SCRIPT.sub(THE_SCRIPT, text)).rest
    for used in (_METRIC, _FOR_METRIC):
        rest = used.sub(" ", rest)
    return list(dict.fromkeys(found[0] for found in _LIMIT.finditer(rest)))


def usual_budget(preference: str) -> list[str]:
    """Return what a lasting preference says of how much any study may take, as words of `/tune`."""
    said = read_conditions(preference)
    if said.clash or _NOT.search(said.rest):
        return []
    return [word for word in said.words if "=" not in word]


def _quoted(script: re.Match[str]) -> str:
    path = script[1] or script[2]
    return f"'{path}'" if " " in path else path


def _script(text: str) -> str | None:
    """Look at a script that is asked about."""
    script = _SCRIPT.search(text)
    if script is None or not _QUESTION.match(text) or not _DECLARED.search(text):
        return None
    return f"/script {_quoted(script)}"


def _data(text: str) -> str | None:
    """Look at a data file that is asked about."""
    data = _DATA.search(text)
    return f"/data {data[0]}" if data is not None and _QUESTION.match(text) else None


def _model_of(text: str) -> str | None:
    """Make a model of a data file, for who has no script."""
    data = _DATA.search(text)
    if data is None or not _MODEL.search(text):
        return None
    said = read_conditions(text.replace(data[0], THE_SCRIPT))
    if said.clash or _NOT.search(said.rest):
        return None
    target = next((name for found in _TARGET.findall(said.rest) for name in found if name), "")
    return " ".join(filter(None, ["/tune", data[0], target, *said.words]))


def _metric(text: str) -> list[str]:
    if _OR.search(text):
        return []
    if found := _METRIC.search(text):
        direction = "minimize" if _LOW.search(found[1]) else "maximize"
        if re.match(r"(maxi|mini)mi", found[1], re.I) or "_" in found[2]:
            return [found[2].rstrip(".,"), direction]
    if named := _FOR_METRIC.search(text):
        names = {named[1].rstrip(".")}
    else:  # the one name that cannot be a parameter's
        names = {n for n in _NAME.findall(text) if direction_of(words_of(n)) is not None}
    return list(names) if len(names) == 1 else []


def _other(text: str) -> str | None:
    for pattern, command in _WISHES:
        if found := pattern.search(text):
            groups = {"study": "", **{k: v or "" for k, v in found.groupdict().items()}}
            groups["study"] = groups["study"] or groups.get("named", "")
            return command.format(**groups).strip()
    return None
