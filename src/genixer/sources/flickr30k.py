"""Flickr30k Entities: captions whose phrases have boxes, two small files an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from genixer.data import Box, ImageRef, Sample, Turn, escape_marks, escapes, random_for
from genixer.errors import ConfigError
from genixer.sources.base import SourceSettings
from genixer.sources.entities import Chains, Phrase, XmlError, parse_boxes, parse_caption
from genixer.sources.planned import PlannedSource, read_ids
from genixer.sources.regions import check_size, corner_box, grouped, region_turns
from genixer.store.entries import AnyEntries, EntryError, clean, join_path
from genixer.store.held_entries import HeldEntries
from genixer.tasks.instructions import lines

__all__ = ["Flickr30kEntities", "Flickr30kEntitiesSettings"]

_LARGEST = 1 << 20
"""Bytes that are read of one file; real ones have a few thousand."""


class Flickr30kEntitiesSettings(SourceSettings):
    """Where Flickr30k Entities lies."""

    sentences: Path
    """Folder `Sentences`: a text file an image, a caption a line."""
    annotations: Path
    """Folder `Annotations`: an XML file an image."""
    image_ids: Path | None = None
    """`train.txt`, `val.txt` or `test.txt`: only these images; empty takes all."""
    tasks: tuple[Literal["rec", "reg", "rd"], ...] = Field(("rec", "reg"), min_length=1)
    """`rec` and `reg` take phrases that mean one box, each once an image; `rd` takes captions in
    which phrases have boxes."""
    image_prefix: str = ""
    """Folder of the images under the image root."""
    image_suffix: str = ".jpg"
    """What follows the id in the name of an image."""
    slack_px: float = Field(1.0, ge=0.0)
    """How far outside the image a box may reach and be cut off; further out it is refused."""


class _Caption(NamedTuple):
    """One line of a text file; `problem` says why it cannot be read."""

    line: int
    raw: bytes
    text: str = ""
    phrases: Sequence[Phrase] = ()
    problem: EntryError | None = None


class _Image(NamedTuple):
    """Both files of one image, and the (caption, task, phrase) of each row; -1 is no phrase."""

    chains: Chains
    captions: list[_Caption]
    rows: list[tuple[int, str, int]]


class Flickr30kEntities(PlannedSource):
    """Phrases and their boxes as REC and REG, captions with boxes as referential dialogue.

    A phrase without a box (a scene, something out of sight) gives nothing; one of several boxes is
    part of captions only.
    """

    name: ClassVar[str] = "flickr30k_entities"
    licence: ClassVar[str] = "research only (Flickr terms for the images)"
    tasks: ClassVar[tuple[str, ...]] = ("rec", "reg", "rd")
    Settings: ClassVar[type[Flickr30kEntitiesSettings]] = Flickr30kEntitiesSettings
    settings: Flickr30kEntitiesSettings

    _last: tuple[int, _Image] | None = None

    def files(self) -> list[Path]:
        """Both folders; the ids if there are any."""
        ids = self.settings.image_ids
        return [self.settings.sentences, self.settings.annotations, *([] if ids is None else [ids])]

    def _open(self) -> AnyEntries:
        names = _names(self.settings.sentences, ".txt")
        _names(self.settings.annotations, ".xml")
        chosen = read_ids(self.settings.image_ids)
        ids = names if chosen is None else list(chosen)
        folder = self.settings.sentences
        return HeldEntries(_Texts(folder, ids), [f"{one}.txt:1" for one in ids])

    @cached_property
    def _ids(self) -> Sequence[str]:
        return [place.removesuffix(".txt:1") for place in self._file.places]

    def _rows(self, index: int) -> int:
        return len(self._image(index).rows)

    def _sample(self, index: int, row: int) -> Sample:
        image, name = self._image(index), self._ids[index]
        at, task, number = image.rows[row]
        caption = image.captions[at]
        if caption.problem is not None:
            raise EntryError(caption.problem.reason, caption.problem.detail)
        path = join_path(self.settings.image_prefix, f"{name}{self.settings.image_suffix}")
        picture = self.catalog.ref(path)
        check_size(picture, image.chains.width, image.chains.height)
        if task == "rd":
            turns = self._told(caption, image.chains, picture, f"{name}/{caption.line}")
            return Sample.of(task, picture, turns, self._origin("caption"))
        phrase = caption.phrases[number]
        words = clean(caption.text[phrase.start : phrase.end])
        (box,) = self._boxes(phrase, image.chains, picture)
        turns = region_turns(self.name, task, words, box, f"{name}/{phrase.chain}/{words}")
        return Sample.of(task, picture, turns, self._origin(phrase.kind))

    def _told(
        self, caption: _Caption, chains: Chains, picture: ImageRef, key: str
    ) -> tuple[Turn, Turn]:
        """A request for a sentence, and the caption with marks after its phrases."""
        text, at, sizes, boxes = "", 0, [], []
        for phrase in caption.phrases:
            found = self._boxes(phrase, chains, picture)
            if found:
                text += escape_marks(caption.text[at : phrase.end]) + " " + "<box>" * len(found)
                at = phrase.end
                sizes.append(len(found))
                boxes += found
        text += escape_marks(caption.text[at:])
        form = random_for(0, self.name, key).choice(lines("grounded_caption_questions"))
        answer = Turn("assistant", text.strip(), tuple(boxes), (), grouped(sizes))
        return Turn("user", form), answer

    def _boxes(self, phrase: Phrase, chains: Chains, picture: ImageRef) -> list[Box]:
        corners = chains.boxes.get(phrase.chain, ())
        return [corner_box(four, picture, self.settings.slack_px) for four in corners]

    def _part(self, index: int, row: int) -> tuple[str, bytes]:
        name = self._ids[index]
        try:
            image = self._image(index)
        except XmlError as error:
            path = self.settings.annotations / f"{name}.xml"
            return f"{name}.xml:{error.line}", _read(path, "no_annotation")
        except EntryError:
            return super()._part(index, row)
        caption = image.captions[image.rows[row][0]]
        return f"{name}.txt:{caption.line}", caption.raw

    def _image(self, index: int) -> _Image:
        """Both files of an image; those of the last one asked for are kept."""
        if self._last is None or self._last[0] != index:
            name = self._ids[index]
            if escapes(name):
                raise EntryError("path_escapes", name)
            text = _read(self.settings.sentences / f"{name}.txt", "no_sentences")
            chains = parse_boxes(_read(self.settings.annotations / f"{name}.xml", "no_annotation"))
            captions = list(_captions(text))
            rows = list(_plan(captions, chains, self.settings.tasks))
            self._last = index, _Image(chains, captions, rows)
        return self._last[1]


class _Texts(Sequence[bytes]):
    """The text files by number, read when asked for; one that is not there is empty."""

    def __init__(self, folder: Path, ids: Sequence[str]) -> None:
        self._folder, self._ids = folder, ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]
        name = self._ids[index]
        try:
            return b"" if escapes(name) else _read(self._folder / f"{name}.txt", "no_sentences")
        except EntryError:
            return b""


def _captions(text: bytes) -> Iterator[_Caption]:
    for number, raw in enumerate(text.split(b"\n"), start=1):
        line = raw.strip()
        if not line:
            continue
        try:
            words, phrases = parse_caption(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            yield _Caption(number, raw, problem=EntryError("not_utf8", str(error)))
        except EntryError as error:
            yield _Caption(number, raw, problem=error)
        else:
            yield _Caption(number, raw, words, phrases)


def _plan(
    captions: list[_Caption], chains: Chains, tasks: Sequence[str]
) -> Iterator[tuple[int, str, int]]:
    """(caption, task, phrase) of each row of an image."""
    seen = set()
    for at, caption in enumerate(captions):
        if caption.problem is not None:
            yield at, "", -1
        if "rd" in tasks and any(phrase.chain in chains.boxes for phrase in caption.phrases):
            yield at, "rd", -1
        for number, phrase in enumerate(caption.phrases):
            said = phrase.chain, caption.text[phrase.start : phrase.end]
            if len(chains.boxes.get(phrase.chain, ())) != 1 or said in seen:
                continue
            seen.add(said)
            for task in tasks:
                if task != "rd":
                    yield at, task, number


def _names(folder: Path, suffix: str) -> list[str]:
    """Names of the files with `suffix` in a folder, sorted; raises `ConfigError` without any."""
    try:
        names = sorted(path.stem for path in folder.iterdir() if path.suffix == suffix)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror or error}") from error
    if not names:
        raise ConfigError(f"{folder}: no {suffix} file in it: is it another folder?")
    return names


def _read(path: Path, reason: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise EntryError(reason, f"{path.name}: {error.strerror or error}") from error
    if len(data) > _LARGEST:
        raise EntryError(reason, f"{path.name} has more than {_LARGEST} bytes")
    return data
