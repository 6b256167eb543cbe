"""The embedded world: pictures composed of named drawings, with exact truth.

It stands in for a photo collection where none can be had. A *pool* is a set of scenes drawn from
one distribution: which backgrounds, how large and how many objects, whether they are turned. Scene
`i` of a pool depends on seed, pool and `i` alone.
"""

from __future__ import annotations

import io
import random
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from genixer.data import random_for
from genixer.sources.scene_art import CAST, KINDS, background, sprite

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Look", "Scene", "Thing", "compose", "draw", "picture_bytes"]

LONG_SIDE_PX = 256


class Look(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Distribution of a pool.

    `objects` and `size` are inclusive ranges; sizes are longer sides as shares of 256 px.

    `kinds` limits the classes (empty = all), `tilt` is the largest rotation in degrees, `mirror`
    the share of flipped objects, `twins` how likely a further object repeats one that is already
    there.
    """

    backgrounds: tuple[str, ...]
    objects: tuple[int, int] = (1, 5)
    size: tuple[float, float] = (0.24, 0.42)
    kinds: tuple[str, ...] = ()
    tilt: int = 0
    mirror: float = 0.0
    twins: float = 0.3


class Thing(msgspec.Struct, frozen=True):
    """An object in a scene: its `name` ("red book"), `kind`, `color` and `box`.

    The box is (x0, y0, x1, y1) in px, of what can be seen.
    """

    name: str
    kind: str
    color: str
    box: tuple[int, int, int, int]
    tilt: int = 0
    mirror: bool = False

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, in px."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


class Scene(msgspec.Struct, frozen=True):
    """The exact truth about one picture.

    `image` is its path under the run's image root, sizes are in px, `licence` is the picture's.
    """

    id: int
    pool: str
    image: str
    width: int
    height: int
    background: str
    things: tuple[Thing, ...]
    sha256: str = ""
    licence: str = ""


def compose(seed: int, pool: str, index: int, look: Look) -> Scene:
    """Scene `index` of `pool`: what is in it and where, not yet drawn.

    >>> look = Look(backgrounds=("sky",), objects=(2, 2))
    >>> scene = compose(7, "train", 0, look)
    >>> len(scene.things), scene == compose(7, "train", 0, look)
    (2, True)
    """
    rng = random_for(seed, f"scenes/{pool}", str(index))
    width, height = rng.choice(((256, 256), (256, 208), (208, 256), (256, 232), (232, 256)))
    names = _names(rng, look)
    things: list[Thing] = []
    for name in names:
        thing = _place(rng, look, name, width, height, things)
        if thing is not None:
            things.append(thing)
    image = f"{pool}/images/{index:06d}.jpg"
    return Scene(index, pool, image, width, height, rng.choice(look.backgrounds), tuple(things))


def _names(rng: random.Random, look: Look) -> list[str]:
    """Names of the objects to place; some come twice, or in another colour."""
    kinds = look.kinds or KINDS
    names: list[str] = []
    for _ in range(rng.randint(*look.objects)):
        draw_twin = names and rng.random() < look.twins
        kind = CAST[rng.choice(names)].kind if draw_twin else rng.choice(kinds)
        variants = [art.name for art in CAST.values() if art.kind == kind]
        # Half the twins of a coloured kind are exact, half differ in colour: the hard case for
        # colour and counting.
        same = [name for name in names if CAST[name].kind == kind]
        names.append(rng.choice(same) if draw_twin and rng.random() < 0.5 else rng.choice(variants))
    return names


def _place(
    rng: random.Random, look: Look, name: str, width: int, height: int, placed: list[Thing]
) -> Thing | None:
    """The object at a free spot, smaller after failed tries; None where no room is left."""
    tilt = rng.randint(-look.tilt, look.tilt) if look.tilt else 0
    mirror = rng.random() < look.mirror
    share = rng.uniform(*look.size)
    for _ in range(3):
        w, h = _fitted(name, tilt, mirror, round(share * LONG_SIDE_PX)).size
        for _ in range(20 if w < width and h < height else 0):
            x, y = rng.randint(0, width - w), rng.randint(0, height - h)
            box = (x, y, x + w, y + h)
            if all(_apart(box, other.box) for other in placed):
                art = CAST[name]
                return Thing(name, art.kind, art.color, box, tilt, mirror)
        share = max(look.size[0], share * 0.8)
    return None


def _apart(a: tuple[int, int, int, int], b: tuple[int, int, int, int], gap: int = 2) -> bool:
    return a[2] + gap <= b[0] or b[2] + gap <= a[0] or a[3] + gap <= b[1] or b[3] + gap <= a[1]


@lru_cache(maxsize=64)
def _fitted(name: str, tilt: int, mirror: bool, side: int) -> Image:
    """Drawing turned, mirrored and scaled so that the longer side of its ink is `side` px."""
    from PIL import Image, ImageOps

    picture = sprite(name)
    if mirror:
        picture = ImageOps.mirror(picture)
    if tilt:
        picture = picture.rotate(tilt, Image.Resampling.BILINEAR, expand=True)
        picture = picture.crop(
            picture.getchannel("A").point(lambda a: 255 if a > 64 else 0).getbbox()
        )
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BILINEAR)


def draw(scene: Scene, seed: int) -> Image:
    """The picture of `scene`, RGB."""
    rng = random_for(seed, f"draw/{scene.pool}", str(scene.id))
    picture = background(scene.background, scene.width, scene.height, rng)
    for thing in scene.things:
        x0, y0, x1, y1 = thing.box
        stamp = _fitted(thing.name, thing.tilt, thing.mirror, max(x1 - x0, y1 - y0))
        picture.paste(stamp, (x0, y0), stamp)
    return picture


def picture_bytes(picture: Image) -> bytes:
    """JPEG bytes of a picture, the same for the same picture and Pillow version."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
