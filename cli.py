"""The command table: every verb and its options, one call each; console/ does it, imported when it runs."""

from console.interrupted import end_at_once

# isort: split
import signal
import sys
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import click

from console.entry import open_closed_streams, unwritable, wrong_usage
from console.hub_options import hub_limits
from console.options import common_options, ice_options, offer_life_option, settings_from
from console.settings import Settings
from node.errors import Exit, UsageError
from node.ice_servers import IceOptions

Task = Callable[[], Any]
Side = Literal["offer", "answer"]

WAITS: Final = ("pending", "delivered", "final")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Options work before and after the verb. Start with: pigeon demo",
)
@click.version_option(package_name="pigeon", message="pigeon %(version)s")
@common_options(variables=True)
def pigeon(**_: Any) -> None:
    """A group chat without a server, with one agreed and signed record of everything said."""


def verb(function: Callable[..., Task]) -> click.Command:
    """A command of the table: takes Settings and its own options, returns what to run."""

    @wraps(function)
    def run(**options: Any) -> int:
        settings = settings_from(click.get_current_context(), options)
        from console import shell

        def task() -> Any:  # within the shell, so that whatever importing it raises ends like any other error
            return function(settings, **options)()

        return shell.run(settings, task)

    # click lists the options that were added last first: a verb's own are to stand above those of all verbs.
    own = run.__dict__.pop("__click_params__", [])
    common_options(variables=False)(run)
    run.__dict__["__click_params__"] += own
    return pigeon.command()(run)


nick_option = click.option("--as", "nick", metavar="NICK", envvar="PIGEON_AS", help="Your name in the room.")
via_option = click.option(
    "--via",
    multiple=True,
    metavar="CARRIER",
    help="What carries the connection's first messages: paste, qr, qr:FOLDER (of pictures), dir:FOLDER, "
    "log:FOLDER or hub:URL. Repeatable; the room remembers it.",
)
file_path = click.Path(path_type=Path, dir_okay=False)
qr_out_option = click.option(
    "--qr-out",
    type=file_path,
    metavar="FILE",
    help="Write what is to be carried as a QR code (PNG) to FILE, anew whenever it changes.",
)
repair_option = click.option(
    "--repair",
    is_flag=True,
    help="Set a damaged store aside, keep what holds, get the rest from the members under a new vote key.",
)
headless_option = click.option("--headless", is_flag=True, help="Without a chat line.")
password_option = click.option(
    "--password-file",
    type=file_path,
    metavar="FILE",
    envvar="PIGEON_PASSWORD_FILE",
    help="The room's password, which newcomers are asked for: the first line of FILE.",
)


@verb
@click.option("--members", type=click.IntRange(4, 10), default=4, show_default=True, help="How many nodes.")
@click.option("--messages", type=click.IntRange(1, 100), default=5, show_default=True, help="From each node.")
@click.option(
    "--keep", type=click.Path(path_type=Path), metavar="DIR", help="Work in DIR and leave it there."
)
def demo(settings: Settings, members: int, messages: int, keep: Path | None) -> Task:
    """Four real nodes agree on one order; one is killed and comes back."""
    from console.demo import demo

    return partial(demo, settings, members=members, messages=messages, keep=keep)


@verb
@click.argument("name")
@nick_option
@via_option
@click.option(
    "--admit",
    "rule",
    type=click.Choice(["ask", "auto"]),
    default="ask",
    show_default=True,
    help="Who lets newcomers in: the members by hand, or an unused invitation alone.",
)
@click.option(
    "--max-peers", type=click.IntRange(1, 31), default=31, show_default=True, help="Members at most."
)
@click.option(
    "--continues",
    metavar="ROOM",
    help="Cite the last block of ROOM, of this home, which cannot go on: its record stays, `log` shows both.",
)
@password_option
@ice_options
@offer_life_option
@qr_out_option
@headless_option
def new(settings: Settings, **options: Any) -> Task:
    """Make a room.

    Prints its fingerprint and an invitation, and opens the chat. With --via paste or qr the invitation is
    an offer, good for ten minutes (--offer-life): a line to send, a code to show. With a folder or a hub
    it is good for a day. With --continues the new room names the one it goes on from, so that everybody
    can check where. The old members have to be invited anew. With --password-file every newcomer is asked
    for the password, too.
    """
    from console.rooms import new

    return partial(new, settings, **options)


@verb
@click.argument("token", required=False)
@nick_option
@via_option
@click.option(
    "--scan", type=file_path, metavar="FILE", help="Take the token out of a picture: a photo, a screenshot."
)
@password_option
@ice_options
@offer_life_option
@qr_out_option
@headless_option
def join(settings: Settings, **options: Any) -> Task:
    """Join a room with an invitation, or by its password.

    TOKEN is the line that `new` or `invite` printed; - reads it from standard input, where it may be
    wrapped, quoted, or have other text around it. Without TOKEN you are asked for it. If you are shown an
    answer, it is needed only where no direct connection comes up: then send it back to whoever invited you.

    A folder whose room has a password lets in who knows it, without TOKEN: --via dir:FOLDER is enough.
    """
    from console.rooms import join

    return partial(join, settings, **options)


@verb
@via_option
@ice_options
@offer_life_option
@repair_option
@qr_out_option
def chat(settings: Settings, **options: Any) -> Task:
    """Reopen a room with a chat line.

    Attaches to the room's node if that is running already. Where people carry the tokens (--via paste or
    qr), a line with a token is used to connect and never said; `pigeon send` says anything.
    """
    from console.rooms import chat

    return partial(chat, settings, **options)


@verb
@via_option
@ice_options
@offer_life_option
@repair_option
@qr_out_option
def up(settings: Settings, **options: Any) -> Task:
    """Run a room's node without a chat line.

    Tokens that come back to it: pigeon carry TOKEN
    """
    from console.rooms import up

    return partial(up, settings, **options)


@verb
@click.argument("text")
@click.option(
    "--wait", type=click.Choice(WAITS), default="final", show_default=True, help="Until this state."
)
def send(settings: Settings, text: str, wait: str) -> Task:
    """Say one thing.

    TEXT goes through the running node; - reads it from standard input. Without a running node it is queued
    safely and goes out when the node runs next. Nothing in it is taken for a command or a token.
    """
    from console.messages import send

    return partial(send, settings, text=text, wait=wait)


@verb
def log(settings: Settings) -> Task:
    """Print what was said and is final.

    In a room that continues another one of this home, the other's record comes first.
    """
    from console.messages import log

    return partial(log, settings)


@verb
def who(settings: Settings) -> Task:
    """Who is in the room, is up, or asks to be let in."""
    from console.questions import who

    return partial(who, settings)


@verb
@click.option("--why", is_flag=True, help="Also say what is missing for messages to become final.")
def status(settings: Settings, why: bool) -> Task:
    """How the room is."""
    from console.questions import status

    return partial(status, settings, why=why)


@verb
@click.argument("who")
def admit(settings: Settings, who: str) -> Task:
    """Let somebody in who asks.

    WHO is the nick, or the beginning of the identity. Compare the safety words first.
    """
    from console.questions import admit

    return partial(admit, settings, who=who)


@verb
@click.argument("who")
def remove(settings: Settings, who: str) -> Task:
    """Be for removing a member.

    WHO is the nick, or the beginning of the identity. It is out as soon as a quorum is for it; in a room of
    two or three that is everybody, the one to be removed too.
    """
    from console.departure import remove

    return partial(remove, settings, who=who)


@verb
def leave(settings: Settings) -> Task:
    """Leave the room for good.

    Waits until the other members' nodes have agreed (--timeout, 30 s); they do so by themselves. What you
    said stays in everybody's record, and yours stays readable.
    """
    from console.departure import leave

    return partial(leave, settings)


@verb
@qr_out_option
def invite(settings: Settings, qr_out: Path | None) -> Task:
    """One more invitation, for one person.

    It is good for a day; where people carry the tokens (--via paste or qr) it is an offer, good for ten
    minutes or what the room's --offer-life says.
    """
    from console.questions import invite

    return partial(invite, settings, qr_out=qr_out)


@verb
@click.argument("token", required=False)
@click.option("--scan", type=file_path, metavar="FILE", help="Take the token out of a picture.")
def carry(settings: Settings, token: str | None, scan: Path | None) -> Task:
    """Hand the running node a token that came back.

    TOKEN is an answer to its offer, or another member's offer; - reads it from standard input. Without one
    you are asked for it. For nodes without a chat line (`up`, --headless) and for scripts; in the chat,
    paste it, or type: /scan FILE
    """
    from console.questions import carry

    return partial(carry, settings, token=token, scan=scan)


@verb
def id(settings: Settings) -> Task:
    """The fingerprint of my identity."""
    from console.questions import identity

    return partial(identity, settings)


@verb
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the proof to FILE; of several the later ones to FILE-2, FILE-3 and so on.",
)
def evidence(settings: Settings, out: Path | None) -> Task:
    """Which members' keys signed twice.

    Needs no running node. A file holds all that a stranger needs to check it: pigeon verify FILE. Exits with
    1 when nobody was caught.
    """
    from console.evidence import evidence

    return partial(evidence, settings, out=out)


@verb
@click.option("--store", is_flag=True, help="Check a room's whole record on disk.")
@click.argument("path", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
def verify(settings: Settings, store: bool, path: Path | None) -> Task:
    """Check a file that pigeon made, or a whole record.

    FILE is checked offline, with nothing but itself and the room that you mean: --room takes its
    fingerprint, or an anchor (FINGERPRINT:HEIGHT:BLOCK), which you must have from elsewhere. Exits with 0
    if it holds, 1 if it was altered, 6 if it is about another room, 8 if it cannot be told.

    With --store: every hash and every signature of a room's store, or of the copy of it at FILE. Exits with
    7 if it is sound and holds evidence against members.
    """
    if not store and path is None:
        raise UsageError(
            "There is nothing to check.", "Name a file or give --store. See: pigeon verify --help"
        )
    from console.verify import verify_file, verify_store

    if store or path is None:
        return partial(verify_store, settings, path=path)
    return partial(verify_file, settings, path=path)


@verb
@click.option("--offer", "side", flag_value="offer", help="Begin: make the offer.")
@click.option("--answer", "side", flag_value="answer", help="Answer the other side's offer.")
@click.option(
    "--in", "into", type=file_path, metavar="FILE", help="The other side's description; it is waited for."
)
@click.option("--out", type=file_path, metavar="FILE", help="Write ours to FILE, whole, by rename.")
@ice_options
def pipe(settings: Settings, side: Side | None, into: Path | None, out: Path | None, ice: IceOptions) -> Task:
    """Standard input and output over WebRTC.

    The other end is another `pigeon pipe`, a browser, or any other program with one data channel. What is to
    be carried both ways is the {"type", "sdp"} JSON of browsers; without --in and --out it is printed and
    asked for on the terminal. Gives up after --timeout seconds without a connection (600).

    An empty message is the end of the data, in each direction for itself: a page says it with
    channel.send(new ArrayBuffer(0)), or ends both directions with channel.close().
    """
    if side is None:
        raise UsageError(
            "Which side is this?", "Give --offer here and --answer at the other end, or vice versa."
        )
    from console.pipe import join_streams

    return partial(join_streams, settings, side=side, into=into, out=out, ice=ice)


@verb
@via_option
@ice_options
def doctor(settings: Settings, **options: Any) -> Task:
    """What works here, and what to do where not.

    Looks at addresses, sockets, carriers, keys, the disk, the clock and a running node, and says what is
    wrong, why, and what helps. Changes nothing, and asks no server that is not named. With a room in this
    home it looks at what that room uses; options given here stand in for that and are not remembered.

    Exits with 0 if nothing is wrong, warnings aside, 1 if something is, 4 if nobody at all can be reached.
    """
    from console.doctor import doctor

    return partial(doctor, settings, **options)


@verb
@click.option(
    "--listen",
    "address",
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="Where; port 0 is any free one, :PORT every address of this machine.",
)
@click.option("--redis", metavar="URL", envvar="PIGEON_REDIS", help="Share everything with other hubs.")
@click.option(
    "--access-log", metavar="FILE", help="A line of JSON for each request; - is standard error. No payloads."
)
@click.option("--trust-proxy", is_flag=True, help="Believe X-Forwarded-For: only behind a proxy of yours.")
@hub_limits
def hub(settings: Settings, **options: Any) -> Task:
    """Run a hub, where others' peers find one another.

    It keeps nothing on disk and is trusted with nothing: what pigeons say through it is sealed. It speaks
    plain HTTP: for the internet put a proxy with TLS in front of it. Clients of signalhub can use it, too.
    """
    from console.hub import hub

    return partial(hub, settings, **options)


@verb
@click.option("--hub", metavar="URL", required=True, envvar="PIGEON_HUB", help="Where to ask.")
@click.option("--namespace", metavar="NAME", required=True, help="What both ask for: a text of your choice.")
@nick_option
@click.option(
    "--key", type=file_path, metavar="FILE", help="Sign what we say with the key in FILE; made where missing."
)
@click.option(
    "--trust",
    type=file_path,
    multiple=True,
    metavar="FILE",
    help="Meet only who signs with a public key in FILE, as in the other one's KEY.pub. Repeatable.",
)
@ice_options
@headless_option
def meet(settings: Settings, **options: Any) -> Task:
    """A fresh room of two with whoever else asks a hub for the same namespace.

    Both ask at about the same time, and wait for each other; --timeout says how long. Compare the safety
    words before you believe who it is. The hub is told a hash of the namespace; who can guess it may be the
    one you meet. The room stays, like any other: reopen it with `pigeon chat`. It has two members, so both
    must be online for a message to become final.
    """
    from console.meet import meet

    return partial(meet, settings, **options)


def main() -> NoReturn:
    """The entry point: one exit code, whatever happens."""
    sys.exit(_main(sys.argv[1:]))


def _main(arguments: list[str]) -> int:
    end_at_once()
    open_closed_streams()
    try:
        result = pigeon.main(arguments, prog_name="pigeon", standalone_mode=False)
    except click.ClickException as error:
        return wrong_usage(error, arguments)
    except click.Abort:
        return 128 + signal.SIGINT
    except OSError as error:  # of --help and --version; console/shell.py tells every other one
        return unwritable(error)
    return result if isinstance(result, int) else Exit.DONE


if __name__ == "__main__":
    main()
