"""What licences of data allow, and whether a mix of rows may be exported for a declared use.

No legal advice: a table of what the usual licences say of changed copies. `commercial` use is
refused where a licence is for other purposes only, or is not known; `research` where changed copies
may not be shared at all. What publishing asks for (name the author, share alike) is not judged: the
attribution list names whom and what.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal

from genixer.data import Sample
from genixer.errors import LicenceError

__all__ = ["LICENCES", "Permit", "Use", "allows", "licences_in"]

Use = Literal["research", "commercial"]

_ANY: tuple[Use, ...] = ("research", "commercial")
_RESEARCH: tuple[Use, ...] = ("research",)

LICENCES: dict[str, tuple[Use, ...]] = {
    "apache": _ANY,
    "bsd": _ANY,
    "cc by": _ANY,
    "cc by nc": _RESEARCH,
    "cc by nc nd": (),
    "cc by nc sa": _RESEARCH,
    "cc by nd": (),
    "cc by sa": _ANY,
    "cc0": _ANY,
    "cdla permissive": _ANY,
    "mit": _ANY,
    "odbl": _ANY,
    "odc by": _ANY,
    "pddl": _ANY,
    "public domain": _ANY,
    "research only": _RESEARCH,
    "unlicense": _ANY,
}
"""Uses of a changed copy by licence, without its version: `CC BY-SA 4.0`, `cc-by-sa-4.0` and
`CC-BY-SA` are the same here."""

_UNKNOWN = _RESEARCH
_VERSION = re.compile(r"\bv?\d+(?:\.\d+)*\b|\b(?:licen[cs]e|clause|international|universal)\b")
_REMARK = re.compile(r"\([^()]*\)")


def licences_in(text: str) -> list[str]:
    """Names of the licences that `text` lists, as the table writes them; remarks are left out.

    >>> licences_in("Apache-2.0 (expressions), CC BY-SA 4.0 (boxes)")
    ['apache', 'cc by sa']
    """
    names = []
    for part in re.split(r"[,;+&]|\band\b", _REMARK.sub(" ", text.lower())):
        name = " ".join(re.sub(r"[-_/]", " ", _VERSION.sub(" ", part)).split())
        if name:
            names.append(name)
    return names


def allows(licence: str, use: Use) -> bool:
    """Whether everything listed in `licence` allows `use`; the unknown allows research alone.

    >>> allows("CC BY-NC 4.0", "research"), allows("CC BY-NC 4.0", "commercial")
    (True, False)
    >>> allows("", "research"), allows("ask the owner", "commercial")
    (True, False)
    """
    return all(use in LICENCES.get(name, _UNKNOWN) for name in licences_in(licence) or [""])


class Permit:
    """Whether the rows of an export may be put to `use`; counts them by source as they pass."""

    def __init__(self, use: Use) -> None:
        """Nothing has passed yet."""
        self.use: Use = use
        self._seen: Counter[tuple[str, str]] = Counter()

    def of(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """`samples`, unchanged; `LicenceError` after the last one if some may not be used so.

        It comes while the file is not yet visible, so a refused export leaves nothing behind.
        """
        for sample in samples:
            self._seen[sample.origin.source, sample.origin.licence] += 1
            yield sample
        refused = [
            f"{count} rows from {source} are under {licence or 'no stated licence'}"
            for (source, licence), count in sorted(self._seen.items())
            if not allows(licence, self.use)
        ]
        if refused:
            raise LicenceError(
                f"not for {self.use} use: {'; '.join(refused)}; nothing was written: leave these "
                "rows out, state the licence you have them under, or export for another --use"
            )

    def unknown(self) -> list[str]:
        """What passed under licences that the table does not know, in words."""
        return [
            f"{count} rows from {source}: {licence or 'no licence stated'}"
            for (source, licence), count in sorted(self._seen.items())
            if any(name not in LICENCES for name in licences_in(licence) or [""])
        ]
