"""A disk that loses what nobody waited for: follows a folder, and rebuilds what a power cut leaves.

While it follows, every system call that changes names or waits for the disk is a point at which the
power may go. What survives is what was synced, and of everything else a random part: a new, moved
or removed name may be there or not, each by itself and in any order; unsynced bytes may be missing,
cut short, zeros, or torn.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

CHANGES = ("replace", "rename", "unlink", "remove", "mkdir", "rmdir", "link", "ftruncate")
_SECTOR = 512


class Node:
    """A file or folder, whatever its name: how it was synced last, and how it is."""

    def __init__(self, shelf: Path | None = None) -> None:
        self.shelf = shelf
        """Second name of a file, which keeps its bytes after its own name is gone."""
        self.synced_bytes = b""
        self.synced: dict[str, Node] = {}
        self.now: dict[str, Node] = {}


class Disk:
    """Follows `root`, keeping second names of its files in `shelf`, on the same disk."""

    def __init__(self, root: Path, shelf: Path) -> None:
        root.mkdir()
        shelf.mkdir()
        self.root, self._shelf = root, shelf
        self._nodes: dict[int, Node] = {}
        self._lock = threading.RLock()
        self._at_work = False
        self.calls = 0
        self._top = self._node(root, folder=True)

    @contextmanager
    def followed(self, at: Callable[[int], None]) -> Iterator[None]:
        """Call `at` with the number of every call that changes something, before it is made."""
        with (
            patch.multiple(
                os,
                fsync=self._watch("fsync", at),
                **{name: self._watch(name, at) for name in CHANGES},
            ),
        ):
            yield

    def _watch(self, name: str, at: Callable[[int], None]) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*words: Any, **more: Any) -> Any:
            with self._lock:
                if self._at_work:
                    return real(*words, **more)
                self._at_work = True
                try:
                    self._look(self.root)
                    at(self.calls)
                    self.calls += 1
                    done = real(*words, **more)
                    self._note(name, words)
                finally:
                    self._at_work = False
                return done

        return call

    def _note(self, name: str, words: tuple[Any, ...]) -> None:
        if name == "mkdir":
            self._nodes.pop(Path(words[0]).stat().st_ino, None)  # the number of one that is gone
        if name == "fsync":
            node = self._nodes.get(os.fstat(words[0]).st_ino)
            if node is not None and node.shelf is None:
                self._look(self.root)
                node.synced = dict(node.now)
            elif node is not None and node.shelf is not None:
                node.synced_bytes = node.shelf.read_bytes()

    def _look(self, folder: Path) -> None:
        """Bring what is known of names up to date."""
        for node in self._nodes.values():
            node.now = {}
        self._walk(folder)

    def _walk(self, folder: Path) -> None:
        node = self._node(folder, folder=True)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            path = Path(entry.path)
            is_folder = entry.is_dir(follow_symlinks=False)
            node.now[entry.name] = self._node(path, folder=is_folder)
            if is_folder:
                self._walk(path)

    def _node(self, path: Path, folder: bool) -> Node:
        number = os.lstat(path).st_ino
        known = self._nodes.get(number)
        # A file may get the number of a folder that is gone: no second name keeps that one.
        if known is None or (known.shelf is None) != folder:
            shelf = None if folder else self._shelf / str(number)
            if shelf is not None:
                os.link(path, shelf)
            self._nodes[number] = Node(shelf)
        return self._nodes[number]

    def survive(self, target: Path, rng: random.Random) -> None:
        """Build in `target` what may be left if the power goes now."""
        self._look(self.root)
        self._build(self._top, target, rng, rng.choice((0.0, 0.5, 0.5, 0.9, 1.0)))

    def _build(self, node: Node, target: Path, rng: random.Random, luck: float) -> None:
        """`luck` is how probable it is that an unsynced change made it."""
        target.mkdir()
        for name in sorted({*node.synced, *node.now}):
            made_it = rng.random() < luck
            inner = (node.now if made_it else node.synced).get(name)
            if inner is None:
                continue
            if inner.shelf is None:
                self._build(inner, target / name, rng, luck)
            else:
                (target / name).write_bytes(_bytes(inner, inner.shelf, rng, luck))


def _bytes(node: Node, shelf: Path, rng: random.Random, luck: float) -> bytes:
    now, synced = shelf.read_bytes(), node.synced_bytes
    if now == synced or rng.random() < luck / 2:
        return now
    # Of what was appended since, or of a file written over, anything may be left.
    start = len(synced) if now.startswith(synced) else 0
    new = bytearray(now[start:])
    for sector in range(0, len(new), _SECTOR):
        if rng.random() < 0.5:
            new[sector : sector + _SECTOR] = bytes(len(new[sector : sector + _SECTOR]))
    rest = [b"", now[start : rng.randrange(start, len(now) + 1)], bytes(len(new)), bytes(new)]
    return rng.choice([synced, *(now[:start] + one for one in rest)])
