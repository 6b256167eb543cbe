"""Workspaces of half-done units, handed from a holder that was given up to the next one."""

from __future__ import annotations

import shutil
from pathlib import Path

from genixer.store.disk import full_disk
from genixer.store.fence import Fence
from genixer.store.layout import StepFolder

__all__ = ["release_workspaces", "take_workspace"]

_TAKEN, _COPY = ".taken", ".copy"


def take_workspace(plain: Path, fence: Fence) -> Path:
    """The workspace of a leased unit, with what former holders left in theirs.

    Theirs is renamed first, which ends whatever goes by its path, and then copied, so that no file
    that a former holder still has open is one of ours. `plain` is its name without a lease.
    """
    mine = plain.with_name(f"{plain.name}@{fence.name}")
    unit = plain.name.partition("-")[0]
    # A former holder that wakes late finds its successor's here, and must leave it alone.
    former = [one for one in plain.parent.glob(f"{unit}-*") if _number(one) < fence.number]
    heritage = [one for one in former if _plain(one) == plain.name and one.suffix != _COPY]
    if heritage and not mine.exists():
        old, taken = max(heritage, key=_number), mine.with_name(f"{mine.name}{_TAKEN}")
        copy = mine.with_name(f"{mine.name}{_COPY}")
        with full_disk(mine, 0):
            old.replace(taken)
            shutil.copytree(taken, copy)
            copy.replace(mine)
        shutil.rmtree(taken, ignore_errors=True)
    for one in former:
        shutil.rmtree(one, ignore_errors=True)
    return mine


def release_workspaces(folder: StepFolder) -> None:
    """Give workspaces the names they have without leases; for a process that is alone."""
    for one in sorted(folder.work.glob("*@*"), key=_number, reverse=True):
        target = one.with_name(_plain(one))
        if one.suffix == _COPY or target.exists():
            shutil.rmtree(one, ignore_errors=True)
        else:
            one.replace(target)


def _plain(workspace: Path) -> str:
    return workspace.name.partition("@")[0]


def _number(workspace: Path) -> int:
    """Number of the lease that a workspace belongs to; 0 without one."""
    name = workspace.name.removesuffix(_TAKEN).removesuffix(_COPY)
    number = name.rpartition(".")[2]
    return int(number) if "@" in name and number.isdecimal() else 0
