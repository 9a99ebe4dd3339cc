"""What a body says: 16 bytes of uuid, one byte for the kind of content, and the content."""

import secrets
import uuid
from typing import Final

from chain.block import SALT_SIZE, UUID_SIZE, Body
from node.errors import UsageError

MAX_TEXT: Final = 16 * 1024  # bytes of UTF-8
_TEXT: Final = 0


def check_text(text: str) -> bytes:
    """The UTF-8 of a message that may be sent; UsageError if it is empty, too long or not text."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:  # lone surrogates: what Python makes of bad UTF-8 in argv and stdin
        raise UsageError("The message is not valid UTF-8.", "Send it as UTF-8 text.") from None
    if not encoded:
        raise UsageError("The message is empty.", "Write something.")
    if len(encoded) > MAX_TEXT:
        raise UsageError(
            f"The message has {len(encoded)} bytes; at most {MAX_TEXT} are allowed.", "Send it in parts."
        )
    return encoded


def text_body(text: str) -> Body:
    """A new body with this text, its own id and a fresh salt; UsageError as check_text."""
    data = uuid.uuid4().bytes + bytes((_TEXT,)) + check_text(text)
    return Body(secrets.token_bytes(SALT_SIZE), data)


def body_id(data: bytes) -> bytes:
    """The message's own id (16 bytes): the same from pending to final."""
    return data[:UUID_SIZE]


def body_text(data: bytes) -> str | None:
    """The text, or None for content of another kind and for what only claims to be text."""
    if len(data) <= UUID_SIZE + 1 or data[UUID_SIZE] != _TEXT or len(data) > UUID_SIZE + 1 + MAX_TEXT:
        return None
    try:
        return data[UUID_SIZE + 1 :].decode()
    except UnicodeDecodeError:
        return None
