"""The keys of signed meetings, as files: a private one of ours, and public ones that we trust."""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from node.errors import NodeError, UsageError
from node.keys import load_or_create_key
from signaling.errors import SignalError
from signaling.meet import Party
from signaling.meet_signals import Namespace

_KEY: Final = re.compile(r"[0-9a-f]{64}")
_MAX_FILE: Final = 256 * 1024


def party_of(namespace: str, key: Path | None, trust: Iterable[Path]) -> Party:
    """Who asks. Blocking; UsageError, KeyFileError. A missing key file is made, its public key beside it."""
    trusted = frozenset(each for path in trust for each in trusted_keys(path))
    if trusted and key is None:
        raise UsageError("--trust needs a key of yours: who signs meets who signs.", "Give --key FILE, too.")
    try:
        place = Namespace(namespace)
    except SignalError as error:
        raise UsageError(error.message, error.hint) from None
    return Party(namespace=place, key=None if key is None else own_key(key), trusted=trusted)


def own_key(path: Path) -> SigningKey:
    """The private key in a file, mode 0600; `path`.pub says the public one, to be given away."""
    path = path.absolute()
    key = load_or_create_key(path, purpose="meeting")
    public = path.with_name(f"{path.name}.pub")
    with suppress(OSError):  # it can be read off the screen, too
        if not public.exists():
            public.write_text(f"{bytes(key.verify_key).hex()}\n")
    return key


def trusted_keys(path: Path) -> frozenset[bytes]:
    """The public keys in a file, one a line in hex; what follows `#` is a remark."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.read(_MAX_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise NodeError(f"{path} cannot be read: {why}.", "Check its name and permissions.") from None
    keys = [line.partition("#")[0].strip() for line in lines.splitlines()]
    found = [each for each in keys if each]
    if len(lines) > _MAX_FILE or not found or not all(map(_KEY.fullmatch, found)):
        raise UsageError(
            f"{path} holds no public keys.", "It takes one a line: 64 hex digits, as in a file FILE.pub."
        )
    return frozenset(map(bytes.fromhex, found))
