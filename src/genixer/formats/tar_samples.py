"""Tar files as WebDataset uses them: members whose names agree up to the first dot are one sample.

Read with suspicion: names that could leave a folder, links, devices, holes and outsized members are
refused before a byte of them is read, and a file that ends early says so.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from genixer.data import Quarantined
from genixer.errors import ConfigError
from genixer.formats.packed import place
from genixer.formats.pictures import ENDINGS, MAX_IMAGE_BYTES
from genixer.paths import escapes
from genixer.store.shards import raw_text

__all__ = ["TarSample", "end_tar", "shard_paths", "tar_samples", "write_member"]

_BLOCK = tarfile.BLOCKSIZE
_MAX_TEXT_BYTES = 16 << 20
_LIMITS = {
    "json": _MAX_TEXT_BYTES,
    "jpeg": MAX_IMAGE_BYTES,
    "tiff": MAX_IMAGE_BYTES,
} | dict.fromkeys(ENDINGS.values(), MAX_IMAGE_BYTES)
"""Most bytes of a member that is read, by the last ending of its name; others are passed over."""


@dataclass
class TarSample:
    """Members of one key: the text in its `.json`, and its image."""

    where: str
    text: bytes = b""
    image: bytes = b""
    image_name: str = ""
    seen: set[str] = field(default_factory=set)
    problem: tuple[str, str] = ("", "")

    def spoil(self, reason: str, detail: str) -> None:
        """Refuse the sample; the first reason stays."""
        self.problem = self.problem if self.problem[0] else (reason, place(detail))

    def checked(self) -> TarSample | Quarantined:
        """Itself when it is complete, else why not."""
        if not self.text:
            self.spoil("no_json", "no member in .json")
        if not self.image_name:
            self.spoil("no_image", "no member with an image's ending")
        if self.problem[0]:
            return Quarantined(self.where, *self.problem, raw_text(self.text))
        return self


def shard_paths(path: Path) -> list[Path]:
    """Tar files of a folder in order of their names, or `path` itself when it is a file.

    Raises `ConfigError` when there is none.
    """
    if path.is_file():
        return [path]
    found = sorted(path.glob("*.tar")) if path.is_dir() else []
    if not found:
        raise ConfigError(f"{path}: neither a tar file nor a folder that holds some (*.tar)")
    return found


def tar_samples(path: Path, bodies: bool = True) -> Iterator[TarSample | Quarantined]:
    """Samples of one tar file in order; only the present one is in memory.

    Without `bodies` names alone are read: as many samples come, to be counted. Raises `ConfigError`
    when the file is no plain tar file at all.
    """
    with _opened(path) as file:
        try:
            tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - holds nothing but `file`
        except tarfile.TarError as error:
            raise ConfigError(f"{path}: no plain tar file: {error}") from error
        sample: TarSample | None = None
        key = damage = ""
        try:
            for member in _members(tar):
                if sample is None or _key(member.name) != key:
                    if sample is not None:
                        yield sample.checked()
                    key = _key(member.name)
                    sample = TarSample(f"{path.name}[{place(key)}]")
                if bodies:
                    _take(tar, member, sample)
            damage = _end_of(tar, file)
        except tarfile.TarError as error:
            damage = str(error)
        if sample is not None:
            if damage:
                sample.spoil("damaged_tar", damage)
            yield sample.checked()
        elif damage:
            yield Quarantined(path.name, "damaged_tar", damage)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Members that are no folders."""
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined] # it would remember all of them
        if not member.isdir():
            yield member


def _key(name: str) -> str:
    """Name up to the first dot of its last part.

    >>> _key("train/0007.seg.png")
    'train/0007'
    """
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, sample: TarSample) -> None:
    """Read one member into its sample, or say why it is refused."""
    base = member.name.rpartition("/")[2]
    ending = base.rpartition(".")[2].lower()
    if escapes(member.name):
        sample.spoil("path_escapes", member.name)
    elif not member.isreg() or member.issparse():
        sample.spoil("not_a_file", f"{member.name}: a link, a device or a file with holes")
    elif base.partition(".")[2].lower() in sample.seen:
        sample.spoil("duplicate_member", member.name)
    elif ending in _LIMITS and member.size > _LIMITS[ending]:
        sample.spoil("member_too_large", f"{member.name}: {member.size} bytes")
    elif ending in _LIMITS and not sample.problem[0]:
        _read(tar, member, sample, ending)
    sample.seen.add(base.partition(".")[2].lower())


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, sample: TarSample, ending: str) -> None:
    if ending != "json" and sample.image_name:
        sample.spoil("several_images", member.name)
        return
    stream = tar.extractfile(member)
    data = stream.read() if stream else b""
    if ending == "json":
        sample.text = data
    else:
        sample.image, sample.image_name = data, member.name


def _end_of(tar: tarfile.TarFile, file: BinaryIO) -> str:
    """What is wrong with the place where the members ended, if anything.

    A header that cannot be read ends the members like the mark of the end does, and so does a file
    cut between two members: without this look, the rest would be lost without a word.
    """
    file.seek(tar.offset)
    return "" if file.read(_BLOCK) == bytes(_BLOCK) else f"no end mark at byte {tar.offset}"


def write_member(file: BinaryIO, name: str, data: bytes) -> None:
    """Append one member, without time and owner; `name` is ASCII and short."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    file.write(member.tobuf(tarfile.USTAR_FORMAT))
    file.write(data)
    file.write(bytes(-len(data) % _BLOCK))


def end_tar(file: BinaryIO) -> None:
    """Append the mark of the end, and fill the last record."""
    file.write(bytes(2 * _BLOCK))
    file.write(bytes(-file.tell() % tarfile.RECORDSIZE))
