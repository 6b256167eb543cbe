"""LLaMA-Factory's messages with `images`, and the entry in `dataset_info.json` that finds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from genixer.data import ImageRef, Role, Sample, Turn, encode_row
from genixer.errors import ConfigError
from genixer.formats.conversation import ConversationFormat, check_pairs, image_of_list
from genixer.formats.tally import Tally, Written
from genixer.formats.text import (
    TextSettings,
    marked,
    read_texts,
    refuse_media,
    unmarked,
    write_texts,
)
from genixer.store.disk import write_atomic

__all__ = ["LlamaFactoryFormat", "LlamaFactorySettings"]

_ROLES: tuple[Role, Role] = ("user", "assistant")


class LlamaFactorySettings(TextSettings):
    """What the dataset is called, and how coordinates stand in the text."""

    dataset: str = ""
    """Name of the entry in `dataset_info.json`; by default the file's name without its ending."""


class _Message(msgspec.Struct):
    role: str
    content: str


class _Row(msgspec.Struct):
    messages: list[_Message]
    id: int | str | None = None
    images: list[str] | str | None = None


class LlamaFactoryFormat(ConversationFormat):
    """Not written: `media_mark` (words such as `<video>`), and what `write_turn` refuses."""

    name: ClassVar[str] = "llama_factory"
    Settings: ClassVar[type[LlamaFactorySettings]] = LlamaFactorySettings
    Row: ClassVar[type[Any]] = _Row
    field: ClassVar[str] = "messages"

    def write(self, samples: Iterable[Sample], out: Path, images: Path) -> Written:
        """Write the rows, then their entry among those that the folder has."""
        name = self.settings.dataset or out.stem
        known = _entries(out.with_name("dataset_info.json"))
        if name in known and known[name].get("file_name") != out.name:
            where = known[name].get("file_name") or ", ".join(map(str, known[name].values()))
            raise ConfigError(
                f"{out.with_name('dataset_info.json')}: {name!r} is the dataset of {where}; "
                "set dataset to another name"
            )
        done = super().write(samples, out, images)
        data = encode_row({**known, name: _entry(out.name)})
        write_atomic(
            out.with_name("dataset_info.json"), msgspec.json.format(data, indent=2) + b"\n"
        )
        return done

    def row(self, sample: Sample, tally: Tally) -> dict[str, Any]:
        """Row of a sample."""
        texts = write_texts(sample.turns, sample.image, self.settings, tally)
        refuse_media(texts)
        texts[0] = marked(texts[0], line=False, image=sample.image is not None)
        said = [
            {"role": turn.role, "content": text}
            for turn, text in zip(sample.turns, texts, strict=True)
        ]
        return {"id": sample.id, "images": self.paths(sample), "messages": said}

    def image(self, row: _Row) -> str:
        """The one image, if any."""
        return image_of_list(row.images)

    def turns(self, row: _Row, image: ImageRef | None) -> Sequence[Turn]:
        """Turns of a row."""
        check_pairs([one.role for one in row.messages], "user", "assistant")
        texts = [one.content for one in row.messages]
        texts[0] = unmarked(texts[0], image is not None)
        return read_texts(texts, image, self.settings)


def _entry(file: str) -> dict[str, Any]:
    return {
        "file_name": file,
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
        },
    }


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    """What `dataset_info.json` holds already; raises `ConfigError` when it is something else."""
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: not the list of datasets that LLaMA-Factory keeps: {error}; "
            "write into another folder"
        ) from error
