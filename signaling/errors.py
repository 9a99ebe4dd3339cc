"""What can be wrong with a token, an offer or an answer: a sentence what happened, one what to do."""


class SignalError(Exception):
    """The one family a decoder of this package raises, whatever the bytes were."""

    message = "This could not be read."
    hint = "Ask for a new one."

    def __init__(self, message: str | None = None, hint: str | None = None) -> None:
        self.message = message or type(self).message
        self.hint = hint or type(self).hint
        super().__init__(f"{self.message} {self.hint}")


class NotAToken(SignalError):
    """The text does not begin like one of ours."""

    message = "This is not a pigeon token."
    hint = "Copy the whole line that begins with pigeon: and try again."


class TokenCut(SignalError):
    """The end of the token is missing."""

    message = "This token was cut: its end is missing."
    hint = "Copy the whole line, to its last character."


class TokenMistyped(SignalError):
    """The checksum does not fit."""

    message = "This token was mistyped: at least one character is wrong."
    hint = "Copy it again instead of typing it."


class WrongKind(SignalError):
    """An answer where an offer was wanted, and so on."""

    message = "This token is of another kind than the one asked for."
    hint = "Check whether the invitation, the offer or the answer is wanted here."


class WrongVersion(SignalError):
    """Made by a program that speaks another version."""

    message = "This was made by another version of pigeon."
    hint = "Update pigeon on both machines."


class Oversize(SignalError):
    """More bytes than anything of ours has."""

    message = "This is larger than anything pigeon makes."
    hint = "It is not one of ours; leave it."


class Malformed(SignalError):
    """The bytes do not have the shape they claim."""

    message = "This is damaged: its parts do not fit together."
    hint = "Ask for a new one."


class BadSignature(SignalError):
    """Nobody who holds the sender's key made this."""

    message = "The signature is wrong: this was altered, or its sender is not who it says."
    hint = "Do not use it; ask the sender for a new one by another way."


class BadKey(SignalError):
    """Its sender's key is of a kind that no honest program makes."""

    message = "The key of its sender cannot be used."
    hint = "Do not use it; its sender runs something other than pigeon."


class Expired(SignalError):
    """Its time is over."""

    message = "This has expired."
    hint = "Ask for a new one."

    @classmethod
    def since(cls, what: str, *, seconds: int) -> "Expired":
        """`what` ("offer") expired this many seconds ago."""
        if seconds < 120:
            ago = f"{max(seconds, 1)} seconds"
        elif seconds < 7200:
            ago = f"{seconds // 60} minutes"
        else:
            ago = f"{seconds // 3600} hours"
        return cls(f"This {what} expired {ago} ago.")


class FromTheFuture(SignalError):
    """Issued later than our clock says it is."""

    message = "This was made at a time that has not come yet."
    hint = "Set the clocks of both machines."


class ForeignRoom(SignalError):
    """It belongs to another room."""

    message = "This belongs to another room."
    hint = "Check which room you are in, and ask for an offer made for it."


class NotForUs(SignalError):
    """It is addressed or sealed to somebody else."""

    message = "This was made for somebody else."
    hint = "Ask for one made for you."


class Replayed(SignalError):
    """It did its work once already."""

    message = "This was used already."
    hint = "Each token connects once: make a new one with /invite."


class CarrierError(SignalError):
    """A carrier cannot do its work."""

    message = "The carrier cannot be used."
    hint = "Check its name and that it can be written to."


class BadPassword(SignalError):
    """No room has such a password."""

    message = "A password has 1 to 256 characters."
    hint = "Choose another one."


class OwnToken(SignalError):
    """What this side shows came back to it."""

    message = "This token is your own."
    hint = "Give it to the other person, and paste here what comes back."


class BadPicture(SignalError):
    """A file that no code can be read from, or should not be."""

    message = "This picture cannot be read."
    hint = "Take it again, or save it as PNG or JPEG."
