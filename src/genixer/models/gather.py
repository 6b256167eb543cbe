"""What a conversion is made of: the tensors of one to three folders, under our names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from genixer.errors import ConfigError
from genixer.models.checkpoint import Checkpoint
from genixer.models.layouts import destination, is_computed, vision_destination
from genixer.models.lora import CONFIG, Adapters

__all__ = ["Held", "Sources", "gather"]

PROJECTOR = "mm_projector.bin"
PROJECTOR_NAMES = "multi_modal_projector."
"""How our names of a projector's tensors begin."""
BESIDE_ADAPTERS = "non_lora_trainables.bin"


@dataclass(frozen=True)
class Held:
    """A tensor where it lies."""

    checkpoint: Checkpoint
    name: str

    def get(self) -> Tensor:
        """The tensor, a view of its file."""
        return self.checkpoint.get(self.name)

    @property
    def where(self) -> str:
        """File and name, for people."""
        return self.checkpoint.where(self.name)


@dataclass
class Sources:
    """All that was found."""

    layout: str
    """`full`, `delta`, `lora`, `projector` or `start`."""
    source: Path
    """What was asked to be converted."""
    model: Path
    """Folder with the config of the language model."""
    tokenizer: Path
    """Folder with the tokenizer."""
    tensors: dict[str, Held] = field(default_factory=dict)
    """By our names."""
    added_to: dict[str, Held] = field(default_factory=dict)
    """For a delta: what each tensor is added to."""
    adapters: Adapters | None = None
    computed: list[str] = field(default_factory=list)
    """Left out: every model computes them."""
    unknown: list[str] = field(default_factory=list)
    """No layout that we know has these."""
    seed: int = 0
    """For a start: what its projector is drawn by."""

    def take(
        self,
        checkpoint: Checkpoint,
        names: Iterable[str] | None = None,
        into: dict[str, Held] | None = None,
        rename: Callable[[str], str | None] = destination,
    ) -> None:
        """Note the tensors `names` (all by default); later ones take the place of earlier ones."""
        table = self.tensors if into is None else into
        for name in checkpoint if names is None else names:
            ours = rename(name)
            if is_computed(name):
                self.computed.append(checkpoint.where(name))
            elif ours is None:
                self.unknown.append(checkpoint.where(name))
            else:
                table[ours] = Held(checkpoint, name)

    def take_tower(self, folder: Path) -> None:
        """Take a vision tower from the CLIP checkpoint in `folder`, its text side left."""
        checkpoint = Checkpoint.of(folder)
        names = [name for name in checkpoint if vision_destination(name) is not None]
        if not names:
            raise ConfigError(f"{folder} has no vision tower of CLIP: no vision_model.* tensors")
        self.take(checkpoint, names, rename=vision_destination)


def gather(
    src: Path,
    base: Path | None,
    delta_of: Path | None,
    vision: Path | None,
    new_projector: int | None = None,
) -> Sources:
    """Tensors of the model that `src` holds, alone or together with other folders.

    `new_projector` is the seed of one to be drawn. Raises `ConfigError` where a folder is missing
    or not needed.
    """
    for path in (src, base, delta_of, vision):
        if path is not None and not path.exists():
            raise ConfigError(f"{path}: no such folder")
    projector = src if src.is_file() else src / PROJECTOR
    if (src / CONFIG).is_file():
        found = _with_adapters(src, _needed(base, src, "adapters"))
    elif projector.is_file() and not _has_weights(src):
        found = _with_projector(projector, _needed(base, src, "a projector alone"))
    elif base is not None:
        raise ConfigError(
            f"{src} is a whole model and needs no base; if it is a difference to {base}, say so "
            "with delta_of"
        )
    else:
        found = _whole(src, delta_of)
    if delta_of is not None and found.layout != "delta":
        raise ConfigError(f"{src} holds no whole model, so it is no difference to {delta_of}")
    if vision is not None:
        found.take_tower(vision)
    return found if new_projector is None else _started(found, new_projector)


def _started(found: Sources, seed: int) -> Sources:
    """The same as the start of a training, its projector yet to be drawn."""
    if found.layout != "full":
        raise ConfigError(
            f"{found.source}: a new projector goes between a vision tower and a whole language "
            f"model, this is a {found.layout}; convert it first, then start from the result"
        )
    held = [one.where for name, one in found.tensors.items() if name.startswith(PROJECTOR_NAMES)]
    if held:
        raise ConfigError(
            f"{found.source} has a projector: {held[0]}; convert it without a new one, or name the "
            "language model it was trained on"
        )
    found.layout, found.seed = "start", seed
    return found


def _needed(base: Path | None, src: Path, what: str) -> Path:
    if base is None:
        raise ConfigError(
            f"{src} holds {what}: name the folder of the model it was trained on: base"
        )
    return base


def _has_weights(folder: Path) -> bool:
    return folder.is_dir() and any(
        any(folder.glob(pattern)) for pattern in ("pytorch_model*", "model*.safetensors")
    )


def _whole(src: Path, delta_of: Path | None) -> Sources:
    found = Sources("full" if delta_of is None else "delta", src, src, src)
    found.take(Checkpoint.of(src))
    if delta_of is not None:
        found.take(Checkpoint.of(delta_of), into=found.added_to)
    return found


def _with_projector(path: Path, base: Path) -> Sources:
    found = Sources("projector", path, base, base)
    found.take(Checkpoint.of(base))
    found.take(Checkpoint([path]))
    return found


def _with_adapters(src: Path, base: Path) -> Sources:
    has_words = any((src / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))
    words = src if has_words else base
    found = Sources("lora", src, base, words, adapters=Adapters(src))
    found.take(Checkpoint.of(base))
    if (src / BESIDE_ADAPTERS).is_file():
        found.take(Checkpoint([src / BESIDE_ADAPTERS]))
    if found.adapters is not None:
        found.take(found.adapters.weights, found.adapters.whole)
    return found
