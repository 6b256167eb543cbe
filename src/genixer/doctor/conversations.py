"""Every registered format with a row a conversation, as the doctor sees it: one class for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from genixer.data import ImageRef
from genixer.doctor.row import Row, decode
from genixer.formats import FORMATS
from genixer.formats.conversation import ConversationFormat
from genixer.frames import Frame
from genixer.store.entries import EntryError
from genixer.tasks.grammar import IMAGE_MARK

__all__ = ["CONVERSATIONS", "ConversationLayout"]

_ROLES = {"human": "user", "gpt": "assistant"}


class _Form(NamedTuple):
    """What a format's rows are like, beyond the types of their fields."""

    in_text: bool = True
    """Whether coordinates stand in the text, in brackets."""
    marks: bool = True
    """Whether `<image>` in the text stands for the image."""
    editable: bool = True
    """Whether a turn is one text, so that it can be written back."""


_FORMS = {
    "llava": _Form(),
    "sharegpt": _Form(),
    "llama_factory": _Form(),
    "messages": _Form(marks=False, editable=False),
    "axolotl": _Form(marks=False, editable=False),
    "ms_swift": _Form(in_text=False),
    "shikra": _Form(in_text=False),
    "qwen_json": _Form(in_text=False),
    "qwen_vl": _Form(in_text=False, marks=False, editable=False),
    "paligemma": _Form(in_text=False, marks=False, editable=False),
}


class ConversationLayout:
    """Rows of the format `name`, by its own types; what its reader would refuse is a finding."""

    def __init__(self, name: str) -> None:
        """Load nothing yet."""
        self.name = name
        self.in_text, self.marks, self.editable = _FORMS[name]

    @cached_property
    def _format(self) -> ConversationFormat:
        made: ConversationFormat = FORMATS.load(self.name)()
        return made

    @property
    def frame(self) -> Frame:
        """Frame of coordinates in text, as the format has it by default."""
        frame: Frame = getattr(self._format.settings, "frame", "pixel")
        return frame

    @property
    def decimals(self) -> int:
        """Their decimals, likewise."""
        return int(getattr(self._format.settings, "decimals", 0))

    def row(self, raw: bytes) -> Row:
        """What an entry holds; speakers become roles."""
        entry = decode(raw, self._format.Row)
        try:
            image = self._format.image(entry) or None
        except EntryError as error:
            if error.reason != "no_image":
                raise
            image = None
        return Row(entry.id, image, _turns(entry))

    def misread(self, raw: bytes, image: ImageRef) -> EntryError | None:
        """Why the format's reader refuses the turns of an entry on this image, if it does."""
        try:
            self._format.turns(decode(raw, self._format.Row), image)
        except EntryError as error:
            return error
        return None

    def edit(self, entry: Any, row: Row) -> None:
        """Put id, image and texts of `row` into the entry; turns stay but for their words."""
        entry["id"] = row.id
        if row.image is not None:
            key = "images" if "images" in entry else "image"
            entry[key] = [row.image] if isinstance(entry.get(key), list) else row.image
        said = entry[self._format.field]
        for one, (_, text) in zip(said, row.turns, strict=True):
            one["value" if "value" in one else "content"] = text

    def fits(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry can be of this format, as far as its keys tell."""
        said = entry.get(self._format.field)
        if self.name == "paligemma":
            return isinstance(said, str) and "suffix" in entry
        if not (isinstance(said, list) and said and all(isinstance(one, dict) for one in said)):
            return False
        return _fits(self.name, entry, said)


def _turns(entry: Any) -> Sequence[tuple[str, str]]:
    if hasattr(entry, "suffix"):
        return [("user", entry.prefix), ("assistant", entry.suffix)]
    if hasattr(entry, "conversations"):
        said = [(one.speaker, one.value) for one in entry.conversations]
    else:
        said = [(one.role, _text(one.content)) for one in entry.messages]
    return [(_ROLES.get(role, role or "?"), text) for role, text in said]


def _text(content: Any) -> str:
    """Words of a turn that may be a list of parts."""
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content if part.type == "text" and part.text)


def _with_values(entry: Mapping[str, Any], said: Sequence[Mapping[str, Any]]) -> str:
    """The one format of an entry whose turns have `from` and `value`."""
    if said[0]["from"] == "user":
        return "qwen_vl"
    for key, name in (("target", "shikra"), ("images", "sharegpt")):
        if key in entry:
            return name
    return "qwen_json" if any("bbox_2d" in str(one["value"]) for one in said) else "llava"


def _fits(name: str, entry: Mapping[str, Any], said: Sequence[Mapping[str, Any]]) -> bool:
    """Whether turns are of a format that shares its field with others."""
    contents = [one.get("content") for one in said]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    if "conversations" in entry:
        if not all({"from", "value"} <= one.keys() for one in said):
            return False
        return name == _with_values(entry, said)
    if not all({"role", "content"} <= one.keys() for one in said):
        return False
    if "objects" in entry:
        return name == "ms_swift"
    by_url = any(isinstance(part, dict) and "image_url" in part for part in parts)
    if by_url or (parts and "images" in entry):
        return name == "messages"
    if parts:
        return name in ("messages", "axolotl")
    marked = any(IMAGE_MARK in content for content in contents if isinstance(content, str))
    return name == "messages" or (marked and name in ("llama_factory", "ms_swift"))


CONVERSATIONS = {name: ConversationLayout(name) for name in _FORMS}
"""The formats that are read so, by name."""
