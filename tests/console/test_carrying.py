"""What people see of a token: the line on standard output, the code and what to do beside it."""

import time
from pathlib import Path

import pytest

from console import pictures
from console.carrying import Carrying
from console.ndjson import JsonScreen
from console.out import Out
from console.pictures import QrFile, code_for_terminal, token_in_picture
from console.plain import PlainScreen
from console.settings import Settings
from node.errors import Exit, NodeError, UsageError
from node.events import InviteEvent, RoomEvent, TokenEvent
from node.tokens import draw_png, read_picture
from signaling.token import Kind, to_token

OFFER = to_token(Kind.OFFER, bytes(range(198)))
ANSWER = to_token(Kind.ANSWER, bytes(range(151)))
INVITATION = to_token(Kind.INVITATION, bytes(range(120)))
ROOM = RoomEvent(room="tea", fingerprint="ff", me="aa", nick="ann", n=1, f=0, quorum=1, via=["paste"])
QR_ROOM = RoomEvent(room="tea", fingerprint="ff", me="aa", nick="ann", n=1, f=0, quorum=1, via=["qr"])


def soon(minutes: float) -> int:
    return int((time.time() + 60 * minutes + 1) * 1000)


def screen(**options: object) -> PlainScreen:
    return PlainScreen(Out(Settings()), color=True, **options)  # type: ignore[arg-type]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of the terminal that notices go to; change it in place."""
    size = [80, 40]
    monkeypatch.setattr(pictures, "room_on_terminal", lambda: (size[0], size[1]))
    return size


async def test_the_token_alone_is_data_and_what_to_do_stands_beside_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    await screen().event(TokenEvent(kind="offer", token=OFFER, expires=soon(10)))
    shown = capfd.readouterr()
    assert shown.out == f"{OFFER}\n"
    assert "Offer for one person (good for 10 min):" in shown.err
    assert "pigeon join TOKEN --as NICK" in shown.err
    assert "pigeon carry TOKEN" in shown.err
    await screen().event(TokenEvent(kind="answer", token=ANSWER, expires=soon(1)))
    shown = capfd.readouterr()
    assert shown.out == f"{ANSWER}\n"
    assert "send it back to whoever invited you" in shown.err


async def test_quiet_leaves_the_token_and_nothing_else(
    capfd: pytest.CaptureFixture[str], terminal: list[int]
) -> None:
    quiet = PlainScreen(Out(Settings(quiet=True)), color=True, draw=True)
    await quiet.event(TokenEvent(kind="offer", token=OFFER, expires=soon(10)))
    assert capfd.readouterr() == (f"{OFFER}\n", "")


async def test_an_invitation_that_is_the_offer_is_shown_once(capfd: pytest.CaptureFixture[str]) -> None:
    shows = screen()
    await shows.event(InviteEvent(token=OFFER, expires=soon(10)))
    await shows.event(TokenEvent(kind="offer", token=OFFER, expires=soon(10)))
    shown = capfd.readouterr()
    assert shown.out == f"{OFFER}\n"
    assert "Offer for one person" in shown.err
    await shows.event(InviteEvent(token=INVITATION, expires=soon(24 * 60)))
    shown = capfd.readouterr()
    assert shown.out == f"{INVITATION}\n"
    assert "Invitation for one person (good for 24 h 00 min):" in shown.err


async def test_a_room_with_a_carrier_of_pictures_shows_the_code_where_it_has_room(
    capfd: pytest.CaptureFixture[str], terminal: list[int]
) -> None:
    shows = screen()
    await shows.event(ROOM)
    await shows.event(TokenEvent(kind="offer", token=OFFER, expires=soon(10)))
    assert "█" not in capfd.readouterr().err, "paste is text"
    shows = screen()
    await shows.event(QR_ROOM)
    await shows.event(TokenEvent(kind="offer", token=OFFER, expires=soon(10)))
    shown = capfd.readouterr()
    code = [line for line in shown.err.splitlines() if "█" in line or "▀" in line]
    assert len(code) >= 27
    assert all(line.startswith("\x1b[38;5;16;48;5;231m") and line.endswith("\x1b[0m") for line in code)
    assert shown.out == f"{OFFER}\n", "the text stands beside it"


@pytest.mark.parametrize("size", [(80, 24), (60, 40), (20, 5)])
async def test_on_a_small_terminal_it_says_how_large_it_should_be(
    capfd: pytest.CaptureFixture[str], terminal: list[int], size: tuple[int, int]
) -> None:
    terminal[:] = size
    await screen(draw=True).event(TokenEvent(kind="offer", token=OFFER, expires=soon(10)))
    shown = capfd.readouterr().err
    assert "█" not in shown
    assert f"{size[0]}x{size[1]} is too small" in shown
    assert "61x33" in shown
    assert "--qr-out" in shown


@pytest.mark.parametrize("color", [True, False])
async def test_a_code_fits_where_it_says_it_does_with_and_without_colour(color: bool) -> None:
    code = await code_for_terminal(OFFER, color=color)
    assert code.fits(61, 33)
    assert not code.fits(60, 33)
    assert not code.fits(61, 32)
    assert ("\x1b" in code.text) == color


async def test_without_a_terminal_nothing_is_drawn(capfd: pytest.CaptureFixture[str]) -> None:
    await screen(draw=True).event(TokenEvent(kind="offer", token=OFFER, expires=soon(10)))
    assert "█" not in capfd.readouterr().err


@pytest.mark.parametrize("as_json", [True, False])
async def test_the_file_always_has_the_latest_token(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], as_json: bool
) -> None:
    file = QrFile(tmp_path / "code.png")
    shows = JsonScreen(Out(Settings()), qr_file=file) if as_json else screen(qr_file=file)
    for token in (OFFER, ANSWER):
        await shows.event(TokenEvent(kind="offer", token=token, expires=soon(10)))
        assert [each.text for each in read_picture(tmp_path / "code.png")] == [token]
    assert [path.name for path in tmp_path.iterdir()] == ["code.png"]
    assert (tmp_path / "code.png").stat().st_mode & 0o077 == 0, "a token is a secret until it was used"


@pytest.mark.parametrize("place", ["missing/code.png", "."])
def test_a_file_that_could_never_be_written_is_refused_before_anything_begins(
    tmp_path: Path, place: str
) -> None:
    with pytest.raises(UsageError, match="qr-out"):
        QrFile(tmp_path / place)


async def test_a_token_is_remembered_for_a_while_only(capfd: pytest.CaptureFixture[str]) -> None:
    shows = Carrying(Out(Settings()), color=False)
    for number in range(1000):
        await shows.show("offer", f"pigeon:{number}", expires=0)
    assert len(shows._shown) < 100
    capfd.readouterr()


async def test_a_picture_gives_the_token_of_the_kind_that_is_wanted(tmp_path: Path) -> None:
    from PIL import Image

    codes = []
    for number, token in enumerate((ANSWER, OFFER, INVITATION)):
        (tmp_path / f"{number}.png").write_bytes(draw_png(token))
        codes.append(Image.open(tmp_path / f"{number}.png").convert("L"))
    both = Image.new("L", (sum(code.width for code in codes[:2]), max(code.height for code in codes)), 255)
    both.paste(codes[0], (0, 0))
    both.paste(codes[1], (codes[0].width, 0))
    both.save(tmp_path / "both.png")
    assert (await token_in_picture(tmp_path / "both.png", wanted=("offer",))).text == OFFER
    assert (await token_in_picture(tmp_path / "both.png", wanted=("answer", "offer"))).text == ANSWER
    with pytest.raises(UsageError, match=r"an answer and an offer in both.png, and an invitation is wanted"):
        await token_in_picture(tmp_path / "both.png", wanted=("invitation",))


async def test_a_picture_with_two_of_a_kind_is_not_guessed_about(tmp_path: Path) -> None:
    from PIL import Image

    other = to_token(Kind.OFFER, bytes(range(1, 199)))
    (tmp_path / "a.png").write_bytes(draw_png(OFFER))
    (tmp_path / "b.png").write_bytes(draw_png(other))
    first, second = Image.open(tmp_path / "a.png"), Image.open(tmp_path / "b.png")
    both = Image.new("L", (first.width, first.height + second.height), 255)
    both.paste(first, (0, 0))
    both.paste(second, (0, first.height))
    both.save(tmp_path / "both.png")
    with pytest.raises(UsageError, match="2 offers"):
        await token_in_picture(tmp_path / "both.png", wanted=("offer",))


async def test_what_is_no_picture_or_has_no_token_is_named(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("L", (300, 300), 255).save(tmp_path / "white.png")
    with pytest.raises(NodeError, match=r"No token .* white.png") as nothing:
        await token_in_picture(tmp_path / "white.png", wanted=("offer",))
    assert nothing.value.exit_code == Exit.NO
    (tmp_path / "text.png").write_text("hello")
    for name in ("text.png", "absent.png", "."):
        with pytest.raises(NodeError):
            await token_in_picture(tmp_path / name, wanted=("offer",))
