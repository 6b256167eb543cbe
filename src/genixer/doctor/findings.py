"""Everything that `genixer doctor` can find, by name: how bad it is, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

__all__ = ["FINDINGS", "Finding", "Kind", "Severity"]

Severity = Literal["error", "warning"]


class Kind(msgspec.Struct, frozen=True):
    """What findings of one name have in common.

    An `error` costs a row or a run, a `warning` is something that programs read differently.
    """

    severity: Severity
    about: str


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong with a dataset.

    `where` is `file:line`, `file[index]`, the path of an image below the image root, or a file.
    `proposal` is the path of the image that should take its place, for an image that is not there.
    """

    name: str
    where: str
    detail: str = ""
    proposal: str = ""


def _error(about: str) -> Kind:
    return Kind("error", about)


def _warning(about: str) -> Kind:
    return Kind("warning", about)


FINDINGS: Mapping[str, Kind] = {
    # Files of rows
    "truncated_file": _error("the file ends in the middle of an entry, or is no list at all"),
    "mixed_ids": _error("some ids are numbers, others are texts: tables refuse such a column"),
    "frame_doubtful": _warning("the boxes as a whole speak for another frame than declared"),
    # Rows
    "not_utf8": _error("an entry that is not UTF-8"),
    "not_json": _error("an entry that is not JSON"),
    "bad_entry": _error("an entry without the fields of its layout, or with other types in them"),
    "no_id": _warning("an entry without an id"),
    "duplicate_id": _error("an earlier entry has the same id"),
    "bad_turns": _error("the turns do not alternate, user first, or there are none"),
    "empty_turn": _error("a turn that says nothing"),
    "image_mark_count": _error("more or fewer `<image>` marks than images"),
    "image_mark_place": _error("an `<image>` mark that does not stand at an end of the first turn"),
    # Boxes
    "bad_box": _error("numbers in brackets that are not written as the declared coordinates are"),
    "box_inverted": _error("a box whose second corner lies left of or above its first"),
    "box_outside": _error("a box that leaves the image"),
    "frame_contradicted": _error("a box with numbers that the declared frame cannot have"),
    # Images
    "missing_image": _error("no such file"),
    "renamed_image": _error("no such file, but its content is there under another name"),
    "path_escapes": _error("a path or link that leads out of the image root"),
    "empty_image": _error("a file without bytes"),
    "not_an_image": _error("a file of another kind"),
    "corrupt_image": _error("an image file that is damaged or cut off"),
    "image_bomb": _error("more pixels than any photograph: decoding it fills the memory"),
    "rotated_image": _warning("stored turned, to be set upright by its EXIF entry"),
    "animated_image": _warning("several frames, of which the first is used"),
    "cmyk_image": _warning("colours for print"),
    "deep_image": _warning("more than 8 bits a channel"),
}
"""Every finding by name."""
