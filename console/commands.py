"""What a line typed into the chat means: a message, or one of the few commands that begin with a slash."""

from dataclasses import dataclass

HELP = """\
/who            who is in the room, and who is up
/status         is the room going on, and what it waits for
/admit NICK     let somebody in who asks (compare the safety words first)
/remove NICK    be for removing a member; a quorum decides
/invite         one more invitation, good for one person
/renew          a new offer in the place of the last one (Enter does it too, when that is over or nearly)
/scan FILE      take the token out of a picture (a photo or a screenshot of a QR code)
/quit           leave the chat; what is pending stays on this disk
//text          a message that begins with a slash
A token that was pasted (pigeon:...) is used to connect and never said, where people carry them
(--via paste or qr). `pigeon send` says whatever it is given: no commands, no tokens."""


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Who:
    pass


@dataclass(frozen=True, slots=True)
class Status:
    pass


@dataclass(frozen=True, slots=True)
class Admit:
    who: str


@dataclass(frozen=True, slots=True)
class Remove:
    who: str


@dataclass(frozen=True, slots=True)
class Invite:
    pass


@dataclass(frozen=True, slots=True)
class Renew:
    pass


@dataclass(frozen=True, slots=True)
class Scan:
    file: str


@dataclass(frozen=True, slots=True)
class Help:
    pass


@dataclass(frozen=True, slots=True)
class Quit:
    pass


@dataclass(frozen=True, slots=True)
class Nothing:
    """An empty line."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """No message and no command; nothing is done."""

    message: str
    hint: str


Command = Say | Who | Status | Admit | Remove | Invite | Renew | Scan | Help | Quit | Nothing | Wrong

_PLAIN: dict[str, Command] = {
    "who": Who(),
    "status": Status(),
    "invite": Invite(),
    "renew": Renew(),
    "help": Help(),
    "quit": Quit(),
}


def parse(line: str) -> Command:
    """The meaning of one line."""
    if not line.strip():
        return Nothing()
    if line.startswith("//"):
        return Say(line[1:])
    if not line.startswith("/"):
        return Say(line)
    name, _, rest = line[1:].partition(" ")
    rest = rest.strip()
    if name == "admit":
        if not rest:
            return Wrong("/admit needs to know whom.", "Type /admit and the nick of the one who asks.")
        return Admit(rest)
    if name == "remove":
        if not rest:
            return Wrong("/remove needs to know whom.", "Type /remove and the nick of a member.")
        return Remove(rest)
    if name == "scan":
        if not rest:
            return Wrong("/scan needs to know which picture.", "Type /scan and the name of a file.")
        return Scan(rest)
    command = _PLAIN.get(name)
    if command is None:
        return Wrong(
            f"There is no command /{name}.",
            "Type /help to see all; begin a message with // if it is to begin with a slash.",
        )
    if rest:
        return Wrong(f"/{name} takes nothing after it.", f"Type /{name} alone.")
    return command
