"""What a person should know before the first word is said, told once and plainly."""

from console.sanitize import one_line
from node.events import RoomEvent

_SIGNED_FOR_GOOD = """\
Everything said here is signed and kept by every member: nobody can deny or unsay it later."""

_SEEN = """\
Members see each other's IP address: this is no VPN, and hides from nobody that you talk to each other."""

_RELAYED = """\
The other members see the TURN server's IP address and not yours (--relay-only). Whoever runs that server,
or a hub, sees yours, and that you talk to each other, but not what you say."""

AUTO_WARNING = """\
! --admit auto: whoever shows an unused invitation of a member gets in without anybody being asked.
  One lying member can so bring in puppets until there are more liars than the room tolerates.
  Use it among machines that are all yours."""

PASSWORD_ASKED = """\
Every newcomer will be asked for the password; tell it to them by another way than the invitation.
In a folder it is enough by itself: who knows it needs no invitation. It cannot be changed later."""

NOTHING_SHOWN = """\
A hub shows nobody which rooms meet there: joining through one needs an invitation from a member."""

REST_OF_TOKEN = "This token is not whole yet: paste the rest of it, or an empty line to give it up."

OFFER_BESIDES = """\
An offer is made besides, for somebody who cannot reach that place. Each of the two lets one person in:
give one of them to one person, or each to another."""

_TAKEN = {
    "offer": "Got the offer; connecting. If an answer is shown next, carry it back.",
    "answer": "Got the answer: it connects within seconds, if it has not yet.",
}

NO_CARRIER = """\
! No --via was given, so nobody can reach this room yet.
  Reopen it with one: pigeon chat --via dir:FOLDER"""


def signed_for_good(*, relay_only: bool) -> str:
    """What is known of whoever takes part, and stays known."""
    return f"{_SIGNED_FOR_GOOD}\n{_RELAYED if relay_only else _SEEN}"


def numbers(n: int) -> str:
    """What it means that a room has n members."""
    if n == 1:
        return (
            "You are alone so far. While there are two or three members, everyone must be online for a\n"
            "message to become final, and one lost disk ends the room. From four on, one may be missing\n"
            "or even lie."
        )
    if n <= 3:
        return (
            f"With {n} members everyone must be online for a message to become final, and one lost disk\n"
            "ends the room. From four on, one may be missing or even lie."
        )
    faults = (n - 1) // 3
    some = "one of them is" if faults == 1 else f"{faults} of them are"
    return f"With {n} members the room goes on while {some} missing or lying."


def how_to_continue(old: str) -> str:
    """What a room that continues another one takes over, and what not."""
    return (
        f"This room continues room {one_line(old)}, whose record stays as it is: `pigeon log` shows both.\n"
        "Its members are not members here yet: invite each of them, with /invite."
    )


def continues_text(room: RoomEvent) -> str:
    """Which room this one goes on from."""
    name = f"room {one_line(room.parent_name)}" if room.parent_name else "a room that is not in this home"
    return f"It continues {name} ({room.parent[:16]}…)"


def how_to_join(via: tuple[str, ...]) -> str:
    """What the other side has to do with an invitation."""
    if not via:
        return NO_CARRIER
    if all(spec.partition(":")[0] in ("paste", "qr") for spec in via):
        return ""  # it stands beside the offer
    return (
        "Give it to one person by a way that nobody else reads. Where the same folder or hub can be reached, "
        "type:\n"
        "  pigeon join TOKEN --as NICK"
    )


def waiting_for_admission(nick: str) -> str:
    """What a newcomer reads while the members decide."""
    return (
        "Waiting to be let in. In a room with the rule `ask`, a quorum of its members (up to three members:\n"
        f"each of them) compares the safety words with you and types: /admit {one_line(nick)}"
    )


def safety_words(words: str, *, between: str) -> str:
    return f"Safety words between {between}: {one_line(words).upper()} (compare them by voice)"


def taken(kind: str) -> str:
    """What happens next with a token that somebody brought."""
    return _TAKEN.get(kind, f"Got the {kind}.")
