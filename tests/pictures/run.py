"""How many pictures of tokens are read after what happens to pictures on their way.

Tokens are drawn as PNG files, degraded with Pillow in eighteen ways, and read by the product's own reader, in
its process. Every picture can be made again from its degradation and number:

    python -m tests.pictures.run --only photo --number 7 --keep /tmp/seven

writes that one to a file and reads it. NIGHTLY=1 makes ten times as many.
"""

import argparse
import io
import os
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey
from PIL import Image

from signaling.candidates import Candidate
from signaling.description import Answer, Offer, RoomId, encode, make_answer, make_offer
from signaling.errors import BadPicture
from signaling.pictures import draw_png, matrix, read_codes
from signaling.token import FRAMING, Kind, to_qr_text, to_token
from tests.pictures.degrade import DEGRADATIONS

EACH: Final = 16
_V4: Final = [Candidate("host", f"192.168.1.{number}", 50_000) for number in range(1, 9)]
_V6: Final = [Candidate("host", f"2001:db8::{number}", 50_000) for number in range(1, 3)]
_KEY: Final = SigningKey(bytes(32))


def _offer(*candidates: Candidate) -> Offer:
    return make_offer(
        key=_KEY, room=RoomId(bytes(range(32))), recipient=None, seed=bytes(range(16)), issued=1_800_000_000,
        life=600, fingerprint=bytes(range(50, 82)), candidates=candidates, invites=True,
    )  # fmt: skip


def _answer(*candidates: Candidate) -> Answer:
    offer = _offer(*_V4[:2])
    return make_answer(
        key=_KEY, offer=offer, issued=offer.issued, fingerprint=bytes(32), candidates=candidates
    )


CARRIED: Final = {
    "answer, 2 IPv4": _answer(*_V4[:2]),
    "answer, IPv4 and IPv6": _answer(_V4[0], _V6[0]),
    "offer, 2 IPv4": _offer(*_V4[:2]),
    "offer, IPv4 and IPv6": _offer(_V4[0], _V6[0]),
    "offer, 2 IPv6": _offer(*_V6),
    "offer, 8 IPv4": _offer(*_V4),
}
TYPICAL: Final = len(encode(CARRIED["offer, 2 IPv4"]))

FLOORS: Final = {"blurred": 0.5, "photo": 0.75, "several": 0.75}
"""The least share that has to be read; elsewhere SURE. Each a step below what was measured."""
SURE: Final = 0.9


@dataclass(frozen=True)
class Outcome:
    """One picture: whether every token in it was read, and in how many seconds."""

    name: str
    number: int
    read: bool
    seconds: float
    trouble: str = ""


def make(name: str, number: int) -> tuple[bytes, list[str]]:
    """A degraded picture and the tokens that are in it."""
    dice = random.Random(f"{name}/{number}")
    tokens = [to_token(Kind.OFFER, dice.randbytes(TYPICAL)) for _ in range(3 if name == "several" else 1)]
    codes = [Image.open(io.BytesIO(draw_png(token))) for token in tokens]
    return DEGRADATIONS[name](codes, dice), tokens


def try_one(name: str, number: int) -> Outcome:
    """Make it and read it; a token that was never drawn is trouble."""
    data, tokens = make(name, number)
    began = time.perf_counter()
    try:
        found = read_codes(data)
    except BadPicture as error:
        return Outcome(name, number, False, time.perf_counter() - began, str(error))
    wrong = "a token that was never drawn" if set(found) - set(tokens) else ""
    return Outcome(name, number, set(tokens) <= set(found), time.perf_counter() - began, wrong)


def rates(names: Sequence[str], *, each: int, jobs: int = 2) -> dict[str, list[Outcome]]:
    """Outcomes by degradation; prints as it goes."""
    outcomes: dict[str, list[Outcome]] = {}
    with ProcessPoolExecutor(jobs) as pool:
        for name in names:
            outcomes[name] = done = list(pool.map(try_one, [name] * each, range(each)))
            missed = [outcome.number for outcome in done if not outcome.read]
            slowest = max(outcome.seconds for outcome in done)
            print(f"{name:18} {each - len(missed)}/{each} slowest={slowest:.2f}s missed={missed}", flush=True)
    return outcomes


def shortcomings(outcomes: dict[str, list[Outcome]]) -> list[str]:
    """Why this run shows less than it should."""
    wrong = []
    for name, done in outcomes.items():
        share = sum(outcome.read for outcome in done) / max(1, len(done))
        if not share or share < FLOORS.get(name, SURE):
            wrong.append(f"{name}: {share:.0%} read, less than {FLOORS.get(name, SURE):.0%}")
        wrong += [f"{name} {each.number}: {each.trouble}" for each in done if each.trouble]
    if not outcomes or not all(outcomes.values()):
        wrong.append("nothing was tried")
    return wrong


def print_sizes() -> list[str]:
    """Token, text and code of each kind; more than version 9 is wrong."""
    wrong = []
    for name, description in CARRIED.items():
        payload = encode(description)
        token = to_token(Kind.ANSWER if isinstance(description, Answer) else Kind.OFFER, payload)
        side = len(matrix(token))
        print(
            f"{name:22} bytes={len(payload) + FRAMING} base32={len(token)} base45={len(to_qr_text(token))} "
            f"version={(side - 8 - 17) // 4} cells={side}x{-(-side // 2)}"
        )
        if side > 61:  # leaves some columns and rows of 80 x 40 for words
            wrong.append(f"{name} takes a code of more than version 9")
    return wrong


def again(name: str, number: int, keep: Path | None) -> int:
    """One picture once more."""
    if keep is not None:
        keep.write_bytes(make(name, number)[0])
    outcome = try_one(name, number)
    print(outcome)
    return 0 if outcome.read else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    each = 10 * EACH if os.environ.get("NIGHTLY") == "1" else EACH
    parser.add_argument("--each", type=int, default=each, help=f"pictures of each kind (default {each})")
    parser.add_argument("--only", choices=DEGRADATIONS, help="this degradation")
    parser.add_argument("--number", type=int, help="this picture of --only alone")
    parser.add_argument("--keep", type=Path, help="where to write it")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    given = parser.parse_args()
    if given.number is not None:
        return again(given.only or "clean", given.number, given.keep)
    began = time.monotonic()
    wrong = print_sizes()
    outcomes = rates([given.only] if given.only else list(DEGRADATIONS), each=given.each, jobs=given.jobs)
    wrong += shortcomings(outcomes)
    for sentence in wrong:
        print(sentence)
    every = [outcome for done in outcomes.values() for outcome in done]
    shares = " ".join(
        f"{name}={sum(outcome.read for outcome in done) / max(1, len(done)):.2f}"
        for name, done in outcomes.items()
    )
    print(
        f"pictures total={len(every)} decoded={sum(outcome.read for outcome in every)} "
        f"seconds={time.monotonic() - began:.0f} failed={len(wrong)} {shares}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
