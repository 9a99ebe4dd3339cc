"""Two homes pair by pictures that suffered on the way: files that people send, and a folder of them."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from console.children import family
from tests.console.vt import Screen
from tests.e2e.homes import PATIENCE, Homes
from tests.e2e.networks import needs_hosts, two_hosts
from tests.e2e.terminal import terminal

Damage = Callable[[Image.Image], Image.Image]


def jpeg(picture: Image.Image, quality: int = 40) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def photographed(picture: Image.Image) -> Image.Image:
    """Held a little askew, not quite sharp, in bad light, and sent through a chat program."""
    wide = ImageOps.expand(picture, border=60, fill=(190, 180, 160))
    width, height = wide.size
    corners = (0, 30, 20, height, width - 10, height - 25, width - 40, 0)
    askew = wide.transform((width, height), Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    askew = askew.rotate(7, Image.Resampling.BICUBIC, expand=True, fillcolor=(120, 110, 100))
    return jpeg(ImageEnhance.Brightness(askew.filter(ImageFilter.GaussianBlur(1.5))).enhance(0.6))


def screenshot(picture: Image.Image) -> Image.Image:
    """A dark desktop with a window in it."""
    desktop = Image.new("RGB", (1600, 1000), (24, 26, 30))
    desktop.paste((60, 90, 140), (0, 0, 1600, 40))
    desktop.paste(picture.resize((520, 520)), (700, 300))
    return desktop


def dark_theme(picture: Image.Image) -> Image.Image:
    return ImageOps.invert(picture)


def as_sent(path: Path, damage: Damage) -> None:
    """The file as the other one gets it; PNG, whatever happened to it."""
    damaged = damage(Image.open(path).convert("RGB"))
    damaged.save(path.with_name("sent.png"), "PNG")


@pytest.mark.parametrize("damage", [jpeg, photographed, screenshot, dark_theme])
async def test_one_picture_pairs_two_homes(tmp_path: Path, damage: Damage) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path, carrier="qr")
        picture = tmp_path / "code.png"
        token = await homes.found("--qr-out", str(picture))
        assert picture.read_bytes().startswith(b"\x89PNG")
        as_sent(picture, damage)
        await homes.start("bob", "join", "--scan", str(tmp_path / "sent.png"), "--as", "bob")
        await homes.all_have(2)
        await homes.nodes["bob"].say("seen")
        await homes.everyone_sees({"seen"})
        again = tmp_path / "again.png"
        code, (invitation,), _ = await homes.run("ann", "invite", "--qr-out", str(again))
        assert code == 0
        assert invitation["token"] != token
        code, (error,), _ = await homes.run("ann", "carry", "--scan", str(again))
        assert (code, error["code"]) == (2, 2), "that is ann's own"


@needs_hosts
async def test_behind_a_firewall_a_picture_goes_each_way(tmp_path: Path) -> None:
    there_and_back = (tmp_path / "offer.png", tmp_path / "answer.png")
    async with two_hosts() as (here, there), family() as children:
        here.guard()
        for path in there_and_back:
            path.parent.mkdir(exist_ok=True)
        ann = await here.start(
            children, "ann", "new", "r", "--as", "ann", "--via", "qr", "--admit", "auto", "--json",
            "--qr-out", str(there_and_back[0]), "--home", str(tmp_path / "ann"),
        )  # fmt: skip
        await ann.wait_for("invite", within=PATIENCE)
        as_sent(there_and_back[0], photographed)
        bob = await there.start(
            children, "bob", "join", "--scan", str(tmp_path / "sent.png"), "--as", "bob", "--via", "qr",
            "--json", "--qr-out", str(there_and_back[1]), "--home", str(tmp_path / "bob"),
        )  # fmt: skip
        assert (await bob.wait_for("token", within=PATIENCE))["kind"] == "answer"
        as_sent(there_and_back[1], photographed)
        await ann.say(f"/scan {tmp_path / 'sent.png'}")
        await ann.wait_for("admitted", within=PATIENCE)
        await bob.wait_for("admitted", within=PATIENCE)


async def test_a_folder_of_pictures_is_enough_for_both_ways(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    async with family() as children:
        homes = Homes(children, tmp_path, carrier=f"qr:{tmp_path / 'pictures'}")
        await homes.found()
        with trio.fail_after(PATIENCE):
            while not list((tmp_path / "pictures").glob("*.png")):  # the offer lies there as a picture
                await trio.sleep(0.05)
        await homes.start("bob", "join", "--as", "bob", *homes.via)
        await homes.all_have(2)
        await homes.nodes["bob"].say("found you")
        await homes.everyone_sees({"found you"})


async def test_a_terminal_with_room_for_it_shows_the_code_that_a_camera_reads(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "ann"))
    async with terminal("new", "tea", "--as", "ann", "--via", "qr", *home, columns=80, rows=40) as ann:
        await ann.wait_for("They type:", within=PATIENCE)
        await ann.wait_for("1/1 up", within=PATIENCE)
        lines = ann.seen.splitlines()
        below = len(lines) - max(at for at, line in enumerate(lines) if "\x1b[0m" in line) - 1
        assert below < 9, "all of it stands on a terminal of 80x40, with what comes after it"
        code = [line for line in lines if line.startswith("\x1b[38;5;16;48;5;231m")]
        assert len(code) <= 31
        screen = Screen(columns=80, rows=40)
        screen.feed(ann.seen)
        assert drawn(screen.lines()) == drawn(code), "and it is not scrolled away, nor written over"
        picture = tmp_path / "photo.png"
        photo_of(code).save(picture)
        async with terminal(
            "join", "--scan", str(picture), "--as", "bob", "--home", str(tmp_path / "bob")
        ) as bob:
            await bob.wait_for("Safety words", within=PATIENCE)
            await ann.wait_for("bob asks to be let in", within=PATIENCE)


def drawn(lines: list[str]) -> int:
    return sum(any(block in line for block in "█▀▄") for line in lines)


def photo_of(lines: list[str]) -> Image.Image:
    """What these lines look like on a terminal, black on white."""
    shades = {" ": (1, 1), "█": (0, 0), "▀": (0, 1), "▄": (1, 0)}
    cells = [[shades[cell] for cell in line.split("m", 1)[1].split("\x1b")[0]] for line in lines]
    size = (len(cells[0]), 2 * len(cells))
    picture = Image.new("L", size, 255)
    for row, line in enumerate(cells):
        for column, (upper, lower) in enumerate(line):
            picture.putpixel((column, 2 * row), 255 * upper)
            picture.putpixel((column, 2 * row + 1), 255 * lower)
    grown = picture.resize((size[0] * 8, size[1] * 8), Image.Resampling.NEAREST)
    return ImageOps.expand(grown, border=80, fill=255)


async def test_what_cannot_be_written_or_read_is_told_before_anything_begins(tmp_path: Path) -> None:
    async with family() as children:
        homes = Homes(children, tmp_path, carrier="qr")
        code, (error,), _ = await homes.run(
            "ann", "new", "tea", "--as", "ann", *homes.via, "--qr-out", str(tmp_path / "no" / "code.png")
        )
        assert (code, error["code"]) == (2, 2)
        assert not (tmp_path / "ann").exists()
        Image.new("RGB", (200, 200), "white").save(tmp_path / "white.png")
        code, (error,), _ = await homes.run(
            "bob", "join", "--as", "bob", "--scan", str(tmp_path / "white.png")
        )
        assert (code, error["code"]) == (1, 1)
        assert "No token" in error["message"]
        code, (error,), _ = await homes.run(
            "bob", "join", "pigeon:X", "--as", "bob", "--scan", str(tmp_path / "white.png")
        )
        assert code == 2
        assert not (tmp_path / "bob").exists()
    with trio.fail_after(1):
        assert {path.name for path in tmp_path.iterdir()} == {"white.png"}
