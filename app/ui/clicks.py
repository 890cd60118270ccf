"""What a click on the page leads to: another place in it, or a wish to a study's worker."""

from __future__ import annotations

from ...agent.commands import named_values
from ..deciding import (
    ask,
    ask_to_enqueue,
    ask_to_resume,
    ask_to_retry,
    ask_to_stop_trial,
    plan_retry,
)
from ..devices import lab_of, reset_device, this_machine
from .acts import Act
from .place import MOST_COMPARED, PANELS, Place, read_place
from .watching import Watch


def move(here: Place, act: Act) -> Place | None:
    """Return where a click leads; None if it asks for something else."""
    number = int(act.argument) if act.argument.isdecimal() else None
    match act.kind:
        case "open" if number is not None:
            return here.but(trial=number, panel="trials")
        case "close":
            return here.but(trial=None)
        case "clear":
            return here.but(compare=())
        case "compare" if number is not None:
            if number in here.compare:
                return here.but(compare=tuple(n for n in here.compare if n != number))
            return here.but(compare=(*here.compare, number)[-MOST_COMPARED:])
        case "panel" if act.argument in PANELS:
            return read_place({**here.model_dump(), "panel": act.argument})
        case "page" if number is not None:
            return here.but(page=number)
        case "sort":
            descending = not here.descending if act.argument == here.sort else True
            return here.but(sort=act.argument[:300], descending=descending, page=0)
        case _:
            return None


def decide(watch: Watch, here: Place, act: Act) -> str:
    """Do what was decided; return a sentence that says so."""
    from ...agent.worker import start_detached

    study = watch.study(here.study or "")
    watch.forget()
    match act.kind:
        case "pause":
            return ask(study, "pause", "start no new trial")
        case "stop":
            return ask(study, "stop", "stop")
        case "stop_trial":
            return ask_to_stop_trial(study, int(act.argument))
        case "reset":
            lab = study.spec.executor.lab is not None
            reset_device(act.argument, lab_of(study) if lab else this_machine())
            return f"{act.argument} is back in service."
        case "resume":
            told = ask_to_resume(study, {})
        case "budget":
            told = ask_to_resume(study, named_values(act.argument.removeprefix(":")))
        case "enqueue":
            told = ask_to_enqueue(study, named_values(act.argument[1:]), here.trial)
        case "retry":
            told = ask_to_retry(study, plan_retry(study, numbers=[int(act.argument)]))
        case _:
            raise ValueError(f"this page knows nothing called {act.kind!r}; reload it")
    if told is not None:
        return told
    start_detached(study.ledger, study.record, study.workspace)
    return f"A worker of its own runs study {study.name} now; it goes on without this page."
