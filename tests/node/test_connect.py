"""Two who want each other and see one folder are linked; strangers, replays and junk change nothing."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from nacl.signing import SigningKey, VerifyKey

from node.attempt import Attempt, Attempts, Introduction
from node.connect import rendezvous
from node.errors import LinkClosed
from node.link import Link
from node.webrtc import Rtc, open_rtc
from signaling.carrier import Carrier, CarrierContext, Parcel, ParcelKind
from signaling.carriers import carrier_from_spec
from signaling.description import Candidate, Identity, RoomId, encode, make_offer
from signaling.envelope import Envelope, parcel_key, presence_parcel, seal_envelope
from signaling.handshake import Role
from signaling.invitation import invitation_key
from signaling.seal import seal
from tests.signaling.odd_key import OddKey

ROOM = RoomId(hashlib.sha256(b"room").digest())
PEER_PROGRAM = Path(__file__).with_name("lobby_peer.py")


def key_of(name: str) -> SigningKey:
    return SigningKey(hashlib.sha256(name.encode()).digest())


def identity(name: str) -> Identity:
    return Identity(bytes(key_of(name).verify_key))


LOW, HIGH = sorted(("ann", "bob"), key=identity)


class Member:
    """One rendezvous with all its parts, run in the test's own nursery."""

    def __init__(self, name: str, rtc: Rtc, folder: Path, *, wants: tuple[str, ...] = ()) -> None:
        self.key, self.me, self.rtc = key_of(name), identity(name), rtc
        self.faults: Counter[str] = Counter()
        self.wants = {identity(other) for other in wants}
        self.present: list[bytes] = []
        self.admitted: set[bytes] = {identity(other) for other in ("ann", "bob", "cal")}
        self.carrier: Carrier = carrier_from_spec(f"dir:{folder}", CarrierContext(faults=self.faults))
        self._send, self._links = trio.open_memory_channel[Link](8)
        self.scope = trio.CancelScope()
        self.gone = trio.Event()
        self.grant: tuple[bytes, bytes] | None = None  # of a newcomer: grant and secret
        self.is_host = True

    def admits(self, sender: bytes, introduction: Introduction | None, offer_hash: bytes) -> bool:
        if introduction is not None and introduction.grant == b"good":
            VerifyKey(bytes(invitation_key(b"s" * 16).verify_key)).verify(offer_hash, introduction.proof)
            return True
        return sender in self.admitted

    def introduce(self, offer_hash: bytes) -> Introduction:
        assert self.grant is not None
        grant, secret = self.grant
        return Introduction(grant=grant, proof=invitation_key(secret).sign(offer_hash).signature)

    async def run(self) -> None:
        with self.scope:
            await rendezvous(
                rtc=self.rtc,
                carriers=[self.carrier],
                identity=self.key,
                room=ROOM,
                wanted=lambda: self.wants,
                admits=self.admits,
                introduce=self.introduce if self.grant is not None else None,
                on_presence=self.present.append,
                host=lambda: self.is_host,
                links=self._send,
                faults=self.faults,
            )
        with trio.CancelScope(shield=True):
            await self.carrier.aclose()
        self.gone.set()

    async def link(self) -> Link:
        link = await self._links.receive()
        self.wants.discard(link.peer)  # type: ignore[arg-type]
        return link

    async def leave(self) -> None:
        self.scope.cancel()
        await self.gone.wait()


@asynccontextmanager
async def stage(seconds: float = 15) -> AsyncIterator[tuple[Rtc, trio.Nursery]]:
    with trio.fail_after(seconds):
        async with open_rtc(loopback_only=True) as rtc, trio.open_nursery() as nursery:
            yield rtc, nursery
            nursery.cancel_scope.cancel()


async def talk(one: Link, other: Link) -> None:
    await one.send(b"there")
    assert await other.receive() == b"there"
    await other.send(b"and back")
    assert await one.receive() == b"and back"


async def test_two_who_want_each_other_are_linked_once_and_the_folder_is_clean_again(tmp_path: Path) -> None:
    async with stage() as (rtc, nursery):
        ann, bob = Member("ann", rtc, tmp_path, wants=("bob",)), Member("bob", rtc, tmp_path, wants=("ann",))
        nursery.start_soon(ann.run)
        nursery.start_soon(bob.run)
        one, other = await ann.link(), await bob.link()
        assert (one.peer, other.peer) == (bob.me, ann.me)
        assert one.words == other.words
        assert one.initiator is not other.initiator
        await talk(one, other)
        while set(os.listdir(tmp_path)) - {"host.offer.bin"}:  # noqa: PTH208
            await trio.sleep(0.01)
        await ann.leave()
        with pytest.raises(LinkClosed):
            await other.receive()
        await bob.leave()
        assert list(tmp_path.iterdir()) == []
        assert ann.faults == bob.faults == Counter()


async def test_one_side_wanting_is_enough_among_members(tmp_path: Path) -> None:
    for wanting, wanted in ((LOW, HIGH), (HIGH, LOW)):
        async with stage() as (rtc, nursery):
            one, other = Member(wanting, rtc, tmp_path, wants=(wanted,)), Member(wanted, rtc, tmp_path)
            nursery.start_soon(one.run)
            nursery.start_soon(other.run)
            await talk(await one.link(), await other.link())


async def test_three_make_a_mesh_through_one_folder(tmp_path: Path) -> None:
    names = ("ann", "bob", "cal")
    async with stage() as (rtc, nursery):
        members = [Member(n, rtc, tmp_path, wants=tuple(o for o in names if o != n)) for n in names]
        for member in members:
            nursery.start_soon(member.run)
        for member in members:
            peers = {(await member.link()).peer for _ in range(2)}
            assert peers == {other.me for other in members} - {member.me}


async def test_a_newcomer_with_a_good_introduction_is_answered_and_sees_who_is_present(
    tmp_path: Path,
) -> None:
    async with stage() as (rtc, nursery):
        ann = Member("ann", rtc, tmp_path)
        nursery.start_soon(ann.run)
        newcomer = Member("newcomer", rtc, tmp_path, wants=("ann",))
        newcomer.grant, newcomer.is_host = (b"good", b"s" * 16), False
        nursery.start_soon(newcomer.run)
        one, other = await ann.link(), await newcomer.link()
        assert (one.peer, other.peer) == (newcomer.me, ann.me)
        while ann.me not in newcomer.present:
            await trio.sleep(0.01)


async def test_a_stranger_is_not_answered_until_it_is_admitted(tmp_path: Path) -> None:
    async with stage() as (rtc, nursery):
        ann, dee = Member("ann", rtc, tmp_path), Member("dee", rtc, tmp_path, wants=("ann",))
        nursery.start_soon(ann.run)
        nursery.start_soon(dee.run)
        while not ann.faults["signal: not admitted"]:
            await trio.sleep(0.01)
        assert not any(path.name.endswith("answer.bin") for path in tmp_path.iterdir())
        ann.admitted.add(dee.me)  # the record has caught up
        await talk(await ann.link(), await dee.link())


async def test_a_peer_that_comes_back_under_the_same_identity_replaces_its_link(tmp_path: Path) -> None:
    for returning, staying in ((LOW, HIGH), (HIGH, LOW)):
        async with stage() as (rtc, nursery):
            stays = Member(staying, rtc, tmp_path)
            first = Member(returning, rtc, tmp_path, wants=(staying,))
            nursery.start_soon(stays.run)
            nursery.start_soon(first.run)
            old, _ = await stays.link(), await first.link()
            second = Member(returning, rtc, tmp_path, wants=(staying,))  # the first still runs: half-open
            nursery.start_soon(second.run)
            new, far = await stays.link(), await second.link()
            assert new.peer == old.peer
            await old.aclose(deadline=0)
            await talk(new, far)


def offer_parcel(
    sender: str, recipient: str, *, expires_in: int = 600, room: RoomId = ROOM, misfile: bool = False
) -> Parcel:
    offer = make_offer(
        key=key_of(sender),
        room=room,
        recipient=identity(recipient),
        seed=os.urandom(16),
        issued=int(time.time()) + expires_in - 600,
        life=600,
        fingerprint=bytes(32),
        candidates=(Candidate("host", "127.0.0.1", 9),),
    )
    place = identity("eve") if misfile else identity(sender)
    return seal_envelope(
        Envelope(encode(offer)), kind=ParcelKind.OFFER, room=ROOM, sender=place, to=identity(recipient)
    )


async def test_hostile_parcels_are_counted_faults_and_the_node_goes_on(tmp_path: Path) -> None:
    def at(number: int, payload: bytes) -> Parcel:
        return Parcel(kind=ParcelKind.OFFER, key=number.to_bytes(32, "big"), payload=payload)

    junk = [
        at(1, os.urandom(512)),
        at(2, seal(b"junk", to=identity("ann"))),
        at(3, seal(b"\x93\xc4\x00\xc4\x00\xc4\x00", to=identity("ann"))),
        offer_parcel("cal", "ann", expires_in=-5),
        offer_parcel("cal", "ann", room=RoomId(bytes(32))),
        offer_parcel("cal", "ann", misfile=True),
        offer_parcel("eve", "ann"),
        presence_parcel(key=key_of("eve"), room=RoomId(bytes(32)), issued=int(time.time()), life=60),
    ]
    async with stage() as (rtc, nursery):
        ann = Member("ann", rtc, tmp_path)
        hand = carrier_from_spec(f"dir:{tmp_path}")
        nursery.start_soon(ann.run)
        for parcel in junk:  # one at a time: some share a place
            before = ann.faults.total()
            await hand.send(parcel)
            while ann.faults.total() == before and parcel is not junk[0]:
                await trio.sleep(0.01)
        bob = Member("bob", rtc, tmp_path, wants=("ann",))
        nursery.start_soon(bob.run)
        await talk(await ann.link(), await bob.link())
        faults = {fault: count for fault, count in ann.faults.items() if fault.startswith("signal")}
        assert faults == {
            "signal: Malformed": 2,
            "signal: expired": 1,
            "signal: ForeignRoom": 2,
            "signal: SignalError": 1,
            "signal: not admitted": 1,
        }


async def test_one_member_that_nothing_can_be_sealed_to_keeps_nobody_from_the_others(tmp_path: Path) -> None:
    async with stage() as (rtc, nursery):
        ann, bob = Member("ann", rtc, tmp_path), Member("bob", rtc, tmp_path)
        ann.wants = {Identity(OddKey().verify_key)}
        nursery.start_soon(ann.run)
        nursery.start_soon(bob.run)
        while not ann.faults["connect: failed"]:
            await trio.sleep(0.01)
        ann.wants.add(bob.me)
        await talk(await ann.link(), await bob.link())


async def test_who_holds_an_invitation_can_start_no_more_attempts_than_leave_room_for_members() -> None:
    attempts = Attempts()
    for number in range(64):
        assert attempts.has_room(guest=True) is (number < 24)
        assert attempts.has_room()
        attempts.put(Attempt(Identity(bytes([number]) * 32), Role.ANSWERER, 0.0))
    assert not attempts.has_room()


async def test_an_offer_left_by_a_killed_peer_does_not_keep_its_return_waiting(tmp_path: Path) -> None:
    async with stage() as (rtc, nursery):
        hand = carrier_from_spec(f"dir:{tmp_path}")
        await hand.send(offer_parcel(LOW, HIGH))  # nobody is behind it
        high = Member(HIGH, rtc, tmp_path, wants=(LOW,))
        nursery.start_soon(high.run)
        answer = parcel_key(ParcelKind.ANSWER, room=ROOM, sender=identity(HIGH), recipient=identity(LOW))
        while not (tmp_path / f"{answer.hex()}.answer.bin").exists():
            await trio.sleep(0.01)
        low = Member(LOW, rtc, tmp_path, wants=(HIGH,))
        nursery.start_soon(low.run)
        with trio.fail_after(3):
            await talk(await high.link(), await low.link())


async def test_cancelling_in_the_middle_leaves_no_file_and_no_socket(tmp_path: Path) -> None:
    async with stage() as (rtc, nursery):
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        names = tuple(f"nobody {number}" for number in range(5))
        ann = Member("ann", rtc, tmp_path, wants=names)
        nursery.start_soon(ann.run)
        while len(list(tmp_path.glob("*.offer.bin"))) < 5:
            await trio.sleep(0.01)
        await ann.leave()
        assert list(tmp_path.iterdir()) == []
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


async def test_who_is_no_longer_wanted_has_its_offer_withdrawn(tmp_path: Path) -> None:
    async with stage() as (rtc, nursery):
        ann = Member("ann", rtc, tmp_path, wants=("bob",))
        ann.is_host = False
        nursery.start_soon(ann.run)
        while not list(tmp_path.iterdir()):
            await trio.sleep(0.01)
        ann.wants.clear()
        while list(tmp_path.iterdir()):
            await trio.sleep(0.01)


class PeerProcess:
    """A whole process of its own that links with others through the folder and prints what happens."""

    def __init__(self, name: str, folder: Path, *others: str) -> None:
        self.began = time.monotonic()
        command = [sys.executable, str(PEER_PROGRAM), str(folder), name, *others]
        root = str(Path(__file__).parents[2])
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
        )

    async def event(self, name: str) -> dict[str, str]:
        """The next event of this name."""
        assert self.process.stdout is not None
        while True:
            line = await trio.to_thread.run_sync(self.process.stdout.readline, abandon_on_cancel=True)
            assert line, "the process ended"
            event: dict[str, str] = json.loads(line)
            if event["event"] == name:
                return event

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        code = self.process.wait(10)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        return code


async def test_two_processes_link_through_a_folder_and_a_killed_one_is_back_within_ten_seconds(
    tmp_path: Path,
) -> None:
    ann, bob = PeerProcess("ann", tmp_path, "bob"), PeerProcess("bob", tmp_path, "ann")
    processes = [ann, bob]
    try:
        with trio.fail_after(25):
            first = await ann.event("link")
            assert (await bob.event("link"))["words"] == first["words"]
            assert (await ann.event("got"))["text"] == "bob says hello"
            assert (await bob.event("got"))["text"] == "ann says hello"
            ann.stop(signal.SIGKILL)
            back = PeerProcess("ann", tmp_path, "bob")
            processes[0] = back
            with trio.fail_after(10):
                again = await bob.event("link")
                assert again["words"] == (await back.event("link"))["words"] != first["words"]
                assert (await bob.event("got"))["text"] == "ann says hello"
    finally:
        codes = [process.stop() for process in processes]
    assert codes == [0, 0]
    assert list(tmp_path.iterdir()) == []
