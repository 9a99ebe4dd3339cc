"""Exceptions of the chain: bytes that are not what they claim, and stores that cannot be trusted."""


class ChainError(Exception):
    """Base of everything the chain raises on purpose."""


class MalformedError(ChainError):
    """Bytes from outside are oversize, not canonical, or not of the expected type.

    The only exception a decoder of this package raises, whatever the bytes.
    """


class InvalidBlockError(ChainError):
    """A block does not follow from its predecessor, or its certificate does not hold."""


class StoreError(ChainError):
    """The store is damaged, foreign or of another version; the message names what and where."""

    def __init__(self, message: str, *, where: str = "", height: int | None = None) -> None:
        super().__init__(message)
        self.where = where
        self.height = height


class ForeignStoreError(StoreError):
    """The store is sound but belongs to another room or another identity."""
