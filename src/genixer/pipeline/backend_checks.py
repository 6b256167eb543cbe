"""What a plan asks of its backends before any is loaded: that they can, and that two agree.

Rows that one model wrote on two backends are joined only behind a step of the stage `parity` that
compares these very backends: the joining step waits for it, and it stops the run below its bar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import PurePath
from typing import TYPE_CHECKING

from genixer.errors import ConfigError, UnknownNameError
from genixer.inference import BACKENDS, capabilities
from genixer.pipeline.graph import in_order
from genixer.stages.base import Generator, Need

if TYPE_CHECKING:
    from genixer.pipeline.plan import PlannedStep

__all__ = ["check_backends"]

_WORDS = {
    "choose": "weighing given answers",
    "logprobs": "log-probabilities of what it writes",
    "guided_json": "JSON of a given form",
}

Where = Callable[..., str]
"""Place of a step's key in the config: `where(step, "with", "backend")`."""


def check_backends(drafts: Mapping[str, PlannedStep], where: Where) -> dict[str, PlannedStep]:
    """`drafts`, those that join rows of two backends waiting for the step that compared these.

    Raises `ConfigError` where a backend is unknown or cannot what is asked of it, and where rows of
    two backends would be joined unseen.
    """
    written = _writers(drafts)
    for name, draft in drafts.items():
        stage = draft.stage()
        own = stage.generator()
        if own is not None:
            _known(own.backend, where(name, "with", "backend"))
        for need in stage.needs():
            place = where(name, "with", *need.at)
            if need.backend:
                _check(need, need.backend, place, draft.label)
            for one in () if need.backend else sorted(written[name], key=_order):
                _check(need, one.backend, place, draft.label, " that wrote its rows")
    return {name: _behind_parity(draft, drafts, written, where) for name, draft in drafts.items()}


def _known(backend: str, place: str) -> None:
    try:
        BACKENDS[backend]
    except UnknownNameError as error:
        raise ConfigError(f"{place}: {error}") from error


def _check(need: Need, backend: str, place: str, label: str, which: str = "") -> None:
    _known(backend, place)
    if capabilities(backend).can(need.capability):
        return
    able = [name for name in BACKENDS if capabilities(name).can(need.capability)]
    what = _WORDS.get(need.capability, need.capability.replace("_", " "))
    raise ConfigError(
        f"{place}: {label} needs {what} ({need.capability}), which the backend {backend}{which} "
        f"cannot; backends that can: {', '.join(able) or 'none'}"
    )


def _writers(drafts: Mapping[str, PlannedStep]) -> dict[str, frozenset[Generator]]:
    """Whose words the rows of every step are, however many steps ago they were written."""
    found: dict[str, frozenset[Generator]] = {}
    for name in in_order({name: _sources(draft) for name, draft in drafts.items()}):
        own = drafts[name].stage().generator()
        before = (found[source] for source in _sources(drafts[name]))
        found[name] = frozenset([own]) if own else frozenset().union(*before)
    return found


def _sources(draft: PlannedStep) -> list[str]:
    return [name for many in draft.sources.values() for name in many]


def _behind_parity(
    draft: PlannedStep,
    drafts: Mapping[str, PlannedStep],
    written: Mapping[str, frozenset[Generator]],
    where: Where,
) -> PlannedStep:
    """`draft`, waiting for the comparison of every two backends whose rows it is the first to join.

    Steps behind it find the rows joined already.
    """
    sets = {written[source] for source in _sources(draft)} - {frozenset()}
    if len(sets) < 2 or not draft.stage().joins:
        return draft
    writers = sorted(frozenset().union(*sets), key=_order)
    gates = []
    for one, other in combinations(writers, 2):
        if one.backend == other.backend or _model(one) != _model(other):
            continue
        gate = next(_gates(one, other, drafts, written), None)
        if gate is None:
            raise ConfigError(_unseen(draft, one, other, where))
        gates.append(gate)
    return replace(draft, references=tuple(dict.fromkeys([*draft.references, *gates])))


def _gates(
    one: Generator,
    other: Generator,
    drafts: Mapping[str, PlannedStep],
    written: Mapping[str, frozenset[Generator]],
) -> Iterator[str]:
    """Steps that compare these two."""
    for name, draft in drafts.items():
        if draft.stage_name == "parity":
            sides = [
                {who for source in draft.sources.get(role, ()) for who in written[source]}
                for role in ("first", "second")
            ]
            if sides in ([{one}, {other}], [{other}, {one}]):
                yield name


def _unseen(draft: PlannedStep, one: Generator, other: Generator, where: Where) -> str:
    return (
        f"{where(draft.name, 'from')}: {draft.label} joins rows that the model {one.model} wrote "
        f"on the backends {one.backend} and {other.backend}, and no step has compared them with "
        "the settings they have here; ask both the same with temperature: 0 and add a step "
        "{stage: parity, from: {first: STEP, second: STEP}}"
    )


def _model(generator: Generator) -> str:
    """Name of the model without its folder, which may differ from backend to backend."""
    return PurePath(generator.model).name


def _order(generator: Generator) -> tuple[str, str, str]:
    return generator.backend, generator.model, generator.settings
