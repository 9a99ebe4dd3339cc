"""Broadcast alone, between hand-linked members: no ordering behind it to mend what it misses."""

from collections.abc import Callable, Iterable

from chain.block import Dep, Head, Slot
from chain.broadcast import Broadcast
from chain.committee import Committee, Member, spent_digest
from chain.crypto import ed25519_verify
from chain.effects import Persist, Send
from chain.epoch import Epoch
from chain.evidence import convict, decode_evidence
from chain.ids import BlockId, MemberId, RoomId, SlotId, VoteKey
from chain.ledger import first_cut
from chain.message import (
    UNSIGNED,
    Accusation,
    Ack,
    Message,
    PullSlot,
    SlotCertificate,
    SlotMessage,
    signed,
    unpack,
)
from chain.outbox import Outbox
from chain.records import Journal, KeepSlot
from chain.resync import restore_lanes, what_peer_lacks
from tests.chain.drawing import Person, body, seed

ROOM = RoomId(seed("room of lanes"))
CUT = BlockId(seed("where all lanes begin"))


class Peer:
    """One honest member: a Broadcast, what it kept, and what it delivered in order."""

    def __init__(self, people: list[Person], place: int) -> None:
        self.people, self.place = people, place
        self.id = people[place].id
        self.kept: list[KeepSlot | Journal] = []
        self.delivered: list[SlotId] = []
        self.convicted: list[bytes] = []
        self.start()

    def start(self) -> None:
        """Begin, or begin again from what was kept."""
        members = tuple(Member(p.id, VoteKey(p.vote.public), p.nick) for p in self.people)
        out = Outbox()
        self.epoch = Epoch(
            room=ROOM,
            number=1,
            committee=Committee(members, spent_digest(())),
            me=self.place,
            key=self.people[self.place].vote,
            verify=ed25519_verify,
            out=out,
            signing=True,
        )
        self.broadcast = Broadcast(self.epoch, cut=first_cut(len(members), CUT))
        slots = [record for record in self.kept if isinstance(record, KeepSlot)]
        journal = {record.key: record.message for record in self.kept if isinstance(record, Journal)}
        for evidence in list(self.convicted):
            self.convict(evidence)
        restore_lanes(self.broadcast, slots, tuple(journal.items()))

    def take(self, message: Message, *, sender: MemberId) -> None:
        match message:
            case SlotMessage():
                self.broadcast.on_slot(message, peer=sender)
            case Ack():
                self.broadcast.on_ack(message, peer=sender)
            case SlotCertificate():
                self.broadcast.on_certificate(message, peer=sender)
            case Accusation():
                self.convict(message.evidence)
            case PullSlot():
                for kept in self.broadcast.branch(message.lane, have=message.have, head=message.head):
                    self.epoch.out.to(sender, SlotMessage(kept.slot, kept.bodies))

    def convict(self, evidence: bytes) -> None:
        """As the court does: whoever is convicted is muted, and the others hear of it."""
        found = convict(
            decode_evidence(evidence), room=ROOM, committee=self.epoch.committee, verify=ed25519_verify
        )
        assert found is not None
        self.broadcast.freeze(self.broadcast.lanes[found.place], evidence)
        if evidence not in self.convicted:
            self.convicted.append(evidence)
            self.epoch.out.to_all(Accusation(evidence))

    def settle(self) -> list[Send]:
        """End of a tick: deliver, ack, and hand out what is to be sent."""
        for evidence in self.epoch.out.take_accused():
            self.convict(evidence)
        self.delivered += [kept.id for kept in self.broadcast.deliver(now=0.0)]
        if self.broadcast.sign_acks():
            self.delivered += [kept.id for kept in self.broadcast.deliver(now=0.0)]
        sends = []
        for effect in self.epoch.out.flush():
            if isinstance(effect, Persist):
                self.kept += [r for r in effect.records if isinstance(r, KeepSlot | Journal)]
            elif isinstance(effect, Send):
                sends.append(effect)
        return sends


class Lanes:
    """n members of whom some are liars played by the test; links as the test says."""

    def __init__(self, n: int, *, liars: Iterable[int] = ()) -> None:
        self.people = sorted((Person(f"p{i}") for i in range(n)), key=lambda person: person.id)
        self.peers = {i: Peer(self.people, i) for i in range(n) if i not in set(liars)}
        self._of = {peer.id: peer for peer in self.peers.values()}
        for one in self.peers:
            for other in self.peers:
                if one < other:
                    self.link(one, other)

    def link(self, one: int, other: int) -> None:
        for a, b in ((one, other), (other, one)):
            out = self.peers[a].epoch.out
            out.linked.add(self.people[b].id)
            out.members.add(self.people[b].id)

    def cut(self, one: int, other: int) -> None:
        for a, b in ((one, other), (other, one)):
            out = self.peers[a].epoch.out
            out.linked.discard(self.people[b].id)
            out.members.discard(self.people[b].id)

    def greet(self, one: int, other: int) -> None:
        """What HELLO makes each of two linked members say to the other; liars pass for linked to all."""
        liars = {person.id for person in self.people} - self._of.keys()
        for a, b in ((one, other), (other, one)):
            peer = self.peers[a]
            linked = frozenset(self.peers[b].epoch.out.members | liars)
            for message in what_peer_lacks(peer.broadcast, b, linked=linked, has_of_mine=0):
                peer.epoch.out.to(self.people[b].id, message)

    def run(self, *, withhold: Callable[[Message], bool] = lambda _: False) -> list[Message]:
        """Carry messages until there are none; those withheld are handed back."""
        held: list[Message] = []
        while sends := [(p, send) for p in self.peers.values() for send in p.settle()]:
            for sender, send in sends:
                for message in unpack(send.data):
                    if withhold(message):
                        held.append(message)
                    else:
                        self._of[send.peer].take(message, sender=sender.id)
        return held

    def say(self, place: int, text: str) -> SlotId:
        return self.peers[place].broadcast.append((body(text),), (), claimed_time=0).id

    def tell(self, place: int, *messages: Message, by: int) -> None:
        """A liar says something to one member."""
        for message in messages:
            self.peers[place].take(message, sender=self.people[by].id)

    # What liars sign

    def slot(
        self, place: int, text: str, *, after: SlotMessage | None = None, deps: tuple[Dep, ...] = ()
    ) -> SlotMessage:
        """A slot of this member, the next after `after`."""
        words = body(text)
        unsigned = Slot(
            epoch=1,
            lane=place,
            seq=after.slot.seq + 1 if after else 1,
            prev=after.slot.id(ROOM) if after else SlotId(CUT),
            deps=deps,
            control=(),
            commitments=(words.commitment(room=ROOM, author=self.people[place].id),),
            claimed_time=0,
            signature=UNSIGNED,
        )
        return SlotMessage(signed(unsigned, room=ROOM, key=self.people[place].vote), (words,))

    def ack(self, place: int, *messages: SlotMessage, number: int = 1) -> Ack:
        entries = tuple(sorted((m.slot.lane, Head(m.slot.seq, m.slot.id(ROOM))) for m in messages))
        return signed(Ack(1, place, number, entries, UNSIGNED), room=ROOM, key=self.people[place].vote)

    def resigned(self, ack: Ack) -> Ack:
        """The same as its signer would sign it."""
        return signed(ack, room=ROOM, key=self.people[ack.signer].vote)

    def delivered(self, place: int) -> dict[int, list[SlotId]]:
        """What each honest member delivered of one lane."""
        return {
            i: [s for s in peer.delivered if self._lane_of(peer, s) == place]
            for i, peer in self.peers.items()
        }

    def _lane_of(self, peer: Peer, slot_id: SlotId) -> int:
        return peer.broadcast.slots[slot_id].slot.lane
