"""What every command is told, whichever side of the verb it stood on."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The options that all verbs share; each can also be given as an environment variable `PIGEON_...`."""

    home: Path | None = None
    room: str | None = None
    """Name or fingerprint; None: the only room there is."""
    json: bool = False
    quiet: bool = False
    verbose: int = 0
    timeout: float | None = None
    """Seconds; None: the command's own default."""
    color: bool = True
    yes: bool = False
