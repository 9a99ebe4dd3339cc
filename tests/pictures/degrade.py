"""What happens to a picture of a code on its way, done to real PNG files with Pillow; a seed decides all.

A degradation takes the PNG files that were drawn and gives the file that arrives.
"""

import io
import random
from collections.abc import Callable, Sequence
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from tests.pictures.perspective import perspective

Degrade = Callable[[Sequence[Image.Image], random.Random], bytes]


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def scaled(code: Image.Image, module: float, how: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """At so many pixels a module; what is drawn has eight."""
    side = round(code.width / 8 * module)
    return code.convert("L").resize((side, side), how)


def noisy(picture: Image.Image, dice: random.Random, strength: float) -> Image.Image:
    """Noise of this standard deviation, in grey levels."""
    tile = Image.frombytes("L", (256, 256), dice.randbytes(1 << 16))
    noise = Image.new("L", picture.size)
    for y in range(0, picture.height, 256):
        for x in range(0, picture.width, 256):
            noise.paste(tile.transpose(Image.Transpose(dice.randrange(7))), (x, y))
    weak = noise.point(lambda level: 128 + (level - 128) * strength / 74)
    return ImageChops.add(picture, weak.convert(picture.mode), offset=-128)


def lit(picture: Image.Image, dice: random.Random, darkest: float) -> Image.Image:
    """Light from one side, and the shadow of whoever holds the telephone."""
    light = Image.linear_gradient("L").resize((512, 512)).rotate(dice.uniform(0, 360), expand=True)
    light = ImageOps.fit(light, (362, 362)).point(lambda level: 255 * (darkest + (1 - darkest) * level / 255))
    shadow = ImageDraw.Draw(light)
    if dice.random() < 0.5:
        edge = dice.randrange(60, 300)
        shadow.rectangle((0, edge, 362, 362), fill=round(255 * darkest))
        light = light.filter(ImageFilter.GaussianBlur(8))
    return ImageChops.multiply(picture, light.resize(picture.size).convert(picture.mode))


def desk(size: tuple[int, int], dice: random.Random) -> Image.Image:
    """Something that is no code: stripes of wood, paper with lines, a keyboard."""
    scene = Image.new("L", size, dice.randrange(60, 190))
    draw = ImageDraw.Draw(scene)
    width, height = size
    for _ in range(40):
        y = dice.randrange(height)
        draw.line(
            (0, y, width, y + dice.randrange(-40, 40)),
            fill=dice.randrange(50, 200),
            width=dice.randrange(1, 9),
        )
    for _ in range(60):
        x, y, side = dice.randrange(width), dice.randrange(height), dice.randrange(8, 60)
        draw.rectangle((x, y, x + side, y + side), fill=dice.randrange(30, 240))
    return scene


def tilted(code: Image.Image, dice: random.Random, strength: float) -> tuple[Image.Image, Image.Image]:
    """Turned and seen from aside; and the mask of where it is. Each corner moves by up to `strength`."""
    turned = code.rotate(dice.uniform(-20, 20), Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    mask = Image.new("L", turned.size, 255)
    side = turned.width
    corners = [
        (x + dice.uniform(0, strength) * side * (1 if x == 0 else -1),
         y + dice.uniform(0, strength) * side * (1 if y == 0 else -1))
        for x, y in ((0, 0), (side, 0), (side, side), (0, side))
    ]  # fmt: skip
    return perspective(turned, corners), perspective(mask, corners)


def photo_of(
    codes: Sequence[Image.Image],
    dice: random.Random,
    *,
    size: tuple[int, int],
    module: float,
    skew: float,
    blur: float = 0.4,
) -> Image.Image:
    """A scene with each code somewhere in it, lit unevenly, grainy, out of focus by up to `blur` modules."""
    scene = desk(size, dice)
    columns = len(codes)
    for at, code in enumerate(codes):
        seen, mask = tilted(scaled(code, module), dice, skew)
        x = at * size[0] // columns + dice.randrange(max(1, size[0] // columns - seen.width))
        scene.paste(seen, (x, dice.randrange(max(1, size[1] - seen.height))), mask)
    scene = lit(scene, dice, dice.uniform(0.35, 0.7))
    scene = ImageEnhance.Contrast(scene).enhance(dice.uniform(0.5, 0.9))
    scene = scene.filter(ImageFilter.GaussianBlur(module * dice.uniform(0.1, blur)))
    return noisy(scene, dice, dice.uniform(3, 12))


def window(size: tuple[int, int], dice: random.Random, *, dark: bool) -> Image.Image:
    """A screen with windows and lines of text."""
    ground, paper, ink = ((30, 30, 34), (18, 18, 18), (200, 200, 200)) if dark else (
        (90, 130, 160), (250, 250, 250), (30, 30, 30))  # fmt: skip
    screen = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(screen)
    for _ in range(3):
        x, y = dice.randrange(size[0] // 2), dice.randrange(size[1] // 2)
        right, bottom = x + dice.randrange(300, 900), y + dice.randrange(200, 600)
        draw.rectangle((x, y, right, bottom), fill=paper)
        draw.rectangle((x, y, right, y + 24), fill=(70, 70, 90))
        for line in range(y + 40, bottom - 12, 18):
            text = "".join(dice.choice("abcdefghij klmno pqrst uvwxyz ") for _ in range((right - x) // 8))
            draw.text((x + 10, line), text, fill=ink)
    return screen


# The degradations


def _one(change: Callable[[Image.Image, random.Random], bytes]) -> Degrade:
    return lambda codes, dice: change(codes[0], dice)


def _screenshot(code: Image.Image, dice: random.Random, *, dark: bool) -> bytes:
    size = dice.choice([(1280, 800), (1920, 1080), (1170, 2500)])
    screen = window(size, dice, dark=dark)
    part = scaled(code, dice.choice([3, 4, 5, 6]), Image.Resampling.NEAREST)
    screen.paste(part, (dice.randrange(size[0] - part.width), dice.randrange(size[1] - part.height)))
    return saved(screen) if dice.random() < 0.5 else saved(screen, "JPEG", quality=70)


def _terminal(code: Image.Image, dice: random.Random) -> bytes:
    """A screenshot of half blocks: cells of any proportion, a gap between lines, the theme around it."""
    across, down = dice.choice([(7, 14), (8, 16), (8, 17), (9, 19), (10, 20), (12, 24), (6, 13)])
    modules = code.width // 8
    grid = code.convert("L").resize((modules, modules), Image.Resampling.NEAREST)
    part = Image.new("L", (modules * across, (modules + 1) // 2 * down), 255)
    for row in range(modules):
        top = row // 2 * down + (down // 2 if row % 2 else 0)
        bottom = (row // 2 + 1) * down if row % 2 else row // 2 * down + down // 2
        strip = grid.crop((0, row, modules, row + 1)).resize(
            (part.width, bottom - top), Image.Resampling.NEAREST
        )
        part.paste(strip, (0, top))
    if dice.random() < 0.4:  # a font whose blocks do not fill the line
        for line in range(down - 1, part.height, down):
            part.paste(255, (0, line, part.width, line + 1))
    screen = window((1500, 1000), dice, dark=dice.random() < 0.7)
    screen.paste(part, (dice.randrange(1500 - part.width), dice.randrange(1000 - part.height)))
    return saved(screen)


def _dark_theme(code: Image.Image, dice: random.Random) -> bytes:
    light, dark = dice.choice([((230, 230, 230), (20, 20, 20)), ((200, 220, 160), (0, 43, 54)),
                               ((255, 176, 0), (40, 20, 0)), ((170, 170, 255), (30, 30, 60))])  # fmt: skip
    part = ImageOps.colorize(ImageOps.invert(scaled(code, dice.choice([3, 4, 6]))), dark, light)
    screen = Image.new("RGB", (1000, 800), dark)
    screen.paste(part, (dice.randrange(1000 - part.width), dice.randrange(800 - part.height)))
    return saved(screen) if dice.random() < 0.5 else saved(screen, "JPEG", quality=60)


def _low_contrast(code: Image.Image, dice: random.Random) -> bytes:
    span, floor = dice.randrange(14, 40), dice.randrange(20, 200)
    faint = scaled(code, dice.uniform(3, 6)).point(lambda level: floor + level * span / 255)
    return saved(noisy(faint, dice, span / 6), "JPEG", quality=80)


def _no_quiet_zone(code: Image.Image, dice: random.Random) -> bytes:
    """Dark things come within a module of it, on some of its sides."""
    module = 8
    picture = ImageOps.expand(code.convert("L"), 60, 90)
    draw = ImageDraw.Draw(picture)
    low, high = 60 + 4 * module, picture.width - 60 - 4 * module
    gap = dice.choice([1, 1.5, 2]) * module
    for side in dice.sample(range(4), dice.choice([1, 2, 3, 4])):
        edge = [
            (0, 0, low - gap, high),
            (high + gap, 0, 999, high),
            (0, 0, high, low - gap),
            (0, high + gap, high, 999),
        ]
        draw.rectangle(edge[side], fill=dice.choice([0, 40, 90]))
    return saved(picture.resize((picture.width // 2, picture.height // 2)), "JPEG", quality=75)


def _moire(code: Image.Image, dice: random.Random) -> bytes:
    """A photograph of a screen: its pixels show, and beat with those of the camera."""
    screen = scaled(code, 9).convert("RGB")
    grid = Image.new("RGB", screen.size, (255, 255, 255))
    draw = ImageDraw.Draw(grid)
    for x in range(0, screen.width, 3):
        draw.line((x, 0, x, screen.height), fill=(190, 190, 190))
    for y in range(0, screen.height, 3):
        draw.line((0, y, screen.width, y), fill=(150, 150, 150))
    shot = ImageChops.multiply(screen, grid).rotate(
        dice.uniform(-7, 7), Image.Resampling.BILINEAR, fillcolor=(99, 99, 99)
    )
    by = dice.uniform(0.22, 0.6)
    return saved(shot.resize((round(shot.width * by),) * 2, Image.Resampling.NEAREST), "JPEG", quality=60)


def _forwarded(code: Image.Image, dice: random.Random) -> bytes:
    """Made small and compressed by one messenger after the other."""
    data = saved(photo_of([code], dice, size=(1600, 1200), module=dice.uniform(6, 10), skew=0.1))
    for kind, width in (("JPEG", 1280), ("WEBP", 1000), ("JPEG", 800)):
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        data = saved(picture.resize((width, width * 3 // 4)), kind, quality=dice.randrange(45, 70))
    return data


def _stained(code: Image.Image, dice: random.Random) -> bytes:
    picture = scaled(code, 6)
    draw = ImageDraw.Draw(picture)
    for _ in range(3):
        x, y = (dice.uniform(0.3, 0.75) * picture.width for _ in range(2))
        draw.ellipse((x, y, x + 14, y + 14), fill=dice.choice([0, 128, 255]))
    return saved(picture, "JPEG", quality=70)


DEGRADATIONS: Final[dict[str, Degrade]] = {
    "clean": _one(lambda code, dice: saved(code)),
    "jpeg40": _one(lambda code, dice: saved(scaled(code, dice.uniform(2.5, 6)), "JPEG", quality=40)),
    "blurred": _one(lambda code, dice: saved(
        scaled(code, 6).filter(ImageFilter.GaussianBlur(6 * dice.uniform(0.4, 0.75))), "JPEG", quality=75)),
    "rotated": _one(lambda code, dice: saved(scaled(code, 5).rotate(
        dice.uniform(0, 360), Image.Resampling.BICUBIC, expand=True, fillcolor=dice.randrange(256)))),
    "skewed": _one(lambda code, dice: saved(tilted(scaled(code, 7), dice, 0.16)[0], "JPEG", quality=60)),
    "photo": _one(lambda code, dice: saved(photo_of(
        [code], dice, size=(2000, 1500), module=dice.uniform(4, 11), skew=0.12), "JPEG", quality=75)),
    "camera": _one(lambda code, dice: saved(photo_of(
        [code], dice, size=(4032, 3024), module=dice.uniform(12, 24), skew=0.1), "JPEG", quality=85)),
    "small": _one(lambda code, dice: saved(scaled(code, dice.uniform(1.4, 2.4)))),
    "screenshot-light": _one(lambda code, dice: _screenshot(code, dice, dark=False)),
    "screenshot-dark": _one(lambda code, dice: _screenshot(code, dice, dark=True)),
    "terminal": _one(_terminal),
    "dark-theme": _one(_dark_theme),
    "low-contrast": _one(_low_contrast),
    "no-quiet-zone": _one(_no_quiet_zone),
    "moire": _one(_moire),
    "forwarded": _one(_forwarded),
    "stained": _one(_stained),
    "several": lambda codes, dice: saved(photo_of(
        codes, dice, size=(2200, 900), module=7, skew=0.06, blur=0.25), "JPEG", quality=75),
}  # fmt: skip
"""By name; `several` takes all codes, the others the first."""
