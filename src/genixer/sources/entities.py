"""The two kinds of file of Flickr30k Entities: captions with marked phrases, boxes in XML."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from xml.parsers import expat

from genixer.store.entries import EntryError

__all__ = ["Chains", "Phrase", "XmlError", "parse_boxes", "parse_caption"]

Corners = tuple[float, float, float, float]
_PHRASE = re.compile(r"\[/EN#([^/\s\[\]]+)/([^\s\[\]]+) ([^\[\]]*)\]")
_WHOLE = re.compile(r"-?[0-9]{1,9}")
_DEEPEST = 8


class Phrase(NamedTuple):
    """Words `start` to `end` of a caption; they belong to `chain`, which has a `kind`."""

    chain: str
    kind: str
    start: int
    end: int


def parse_caption(line: str) -> tuple[str, list[Phrase]]:
    """A caption without its marks, and the phrases that were marked.

    Raises `EntryError` (`bad_markup`) for a bracket that is no whole mark.

    >>> parse_caption("[/EN#7/people A man] waves .")
    ('A man waves .', [Phrase(chain='7', kind='people', start=0, end=5)])
    """
    text, at, phrases = "", 0, []
    for mark in _PHRASE.finditer(line):
        text += line[at : mark.start()]
        phrases.append(Phrase(mark[1], mark[2], len(text), len(text) + len(mark[3])))
        text, at = text + mark[3], mark.end()
    text += line[at:]
    if "[/EN#" in text:
        raise EntryError("bad_markup", text[text.index("[/EN#") :][:80])
    return text, phrases


class XmlError(EntryError):
    """An annotation file that cannot be read; `line` is where, from 1."""

    def __init__(self, reason: str, detail: str, line: int = 1) -> None:
        """Keep `reason` for the count, `detail` and `line` for people."""
        super().__init__(reason, detail)
        self.line = line


class Chains(NamedTuple):
    """Size of the image in px, and the boxes of each chain as the file spells them."""

    width: int
    height: int
    boxes: dict[str, list[Corners]]


def parse_boxes(data: bytes) -> Chains:
    """What an annotation file says; raises `XmlError` (`bad_xml`, `xml_forbidden`).

    Files with a document type are refused: it is what entities, and files beside this one, are
    declared in. Boxes count pixels from 1; here they count from 0, as the dataset's own reader
    makes them: 1 less for all four numbers.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise XmlError("bad_xml", str(error), error.lineno) from error
    if not {"width", "height"} <= reader.size.keys():
        raise XmlError("bad_xml", "it tells no size of the image")
    return Chains(reader.size["width"], reader.size["height"], reader.boxes)


class _Reader:
    """Handlers of one parse: sizes and boxes by where in the tree they stand."""

    def __init__(self) -> None:
        self.size: dict[str, int] = {}
        self.boxes: dict[str, list[Corners]] = {}
        self._path: list[str] = []
        self._text: list[str] = []
        self._names: list[str] = []
        self._corners: dict[str, int] = {}
        # Whatever the file declares: Python would look up any codec that it names.
        self.parser = expat.ParserCreate("utf-8")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text.append
        self.parser.StartDoctypeDeclHandler = self._refuse

    def _refuse(self, *_: Any) -> None:
        raise self._error("xml_forbidden", "a document type, which could declare entities")

    def _error(self, reason: str, detail: str) -> XmlError:
        return XmlError(reason, detail, self.parser.CurrentLineNumber)

    def _start(self, tag: str, _: dict[str, str]) -> None:
        self._path.append(tag)
        if len(self._path) > _DEEPEST:
            raise self._error("xml_forbidden", f"more than {_DEEPEST} elements inside each other")
        self._text.clear()
        if self._path == ["annotation", "object"]:
            self._names, self._corners = [], {}

    def _end(self, tag: str) -> None:
        path, text = self._path[1:], "".join(self._text).strip()
        self._path.pop()
        self._text.clear()
        if path in (["size", "width"], ["size", "height"]):
            self.size[tag] = self._number(text)
        elif path == ["object", "name"]:
            self._names.append(text)
        elif path[:-1] == ["object", "bndbox"]:
            self._corners[tag] = self._number(text)
        elif path == ["object"]:
            self._object()

    def _object(self) -> None:
        """An object may stand in several chains, and may have no box: a scene, or out of sight."""
        if not self._corners:
            return
        try:
            x0, y0, x1, y1 = (
                self._corners[corner] - 1 for corner in ("xmin", "ymin", "xmax", "ymax")
            )
        except KeyError as error:
            raise self._error("bad_xml", f"a box without {error}") from error
        for name in self._names:
            self.boxes.setdefault(name, []).append((x0, y0, x1, y1))

    def _number(self, text: str) -> int:
        if not _WHOLE.fullmatch(text):
            raise self._error("bad_xml", f"{text[:40]!r} is no whole number")
        return int(text)
