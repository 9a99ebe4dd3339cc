"""Inputs and effects in a few words each, for the replay of a failing seed."""

from collections.abc import Callable

from msgspec.structs import astuple

from chain.block import Block
from chain.effects import Arrived, Effect, Input, LinkDown, LinkUp, Ordered, Persist, Send
from chain.errors import MalformedError
from chain.evidence import decode_evidence
from chain.ids import MemberId
from chain.message import (
    Accusation,
    Ack,
    BlockMessage,
    Committed,
    Hello,
    Message,
    Precommit,
    Prevote,
    Propose,
    PullBlock,
    PullRange,
    PullSlot,
    RoundChange,
    SlotCertificate,
    SlotMessage,
    Standing,
    unpack,
)
from chain.records import Forget, Journal, KeepBlock, KeepSlot, Record

Name = Callable[[MemberId], str]


def tell_input(given: Input, name: Name) -> str:
    match given:
        case Arrived(peer=peer, data=data):
            return f"{name(peer)}: {_envelope(data)}"
        case LinkUp(peer=peer) | LinkDown(peer=peer):
            return f"{type(given).__name__} {name(peer)}"
        case _:
            return type(given).__name__


def tell_effect(effect: Effect, name: Name) -> str:
    match effect:
        case Send(peer=peer, data=data):
            return f"{name(peer)}: {_envelope(data)}"
        case Persist(records=records):
            return "keep " + ", ".join(_record(record) for record in records)
        case Ordered(height=height, items=items):
            return f"ORDERED {height}: {len(items)} items"
        case _:
            return repr(effect)[:200]


def _envelope(data: bytes) -> str:
    try:
        return "; ".join(_message(message) for message in unpack(data))
    except MalformedError:
        return f"garbage {data[:16].hex()}"


def _record(record: Record) -> str:
    match record:
        case KeepSlot(id=id_, slot=slot):
            return f"slot {slot.lane}:{slot.seq}={id_.hex()[:6]}"
        case KeepBlock(block=block):
            return f"block {block.height}"
        case Journal(key=key):
            return f"journal {key}"
        case Forget(prefix=prefix):
            return f"forget {prefix}*"
        case _:
            return type(record).__name__


def _cut(block: Block) -> str:
    return "/".join(f"{head.seq}:{head.id.hex()[:4]}" for head in block.cut)


def _standing(standing: Standing | None) -> str:
    return "-" if standing is None else f"{standing.seq}#{standing.ackseq} {astuple(standing.rounds)}"


def _message(message: Message) -> str:
    match message:
        case SlotMessage(slot=slot):
            return f"slot e{slot.epoch} {slot.lane}:{slot.seq} prev {slot.prev.hex()[:6]}"
        case Ack(signer=signer, ackseq=ackseq, entries=entries):
            heads = " ".join(f"{lane}:{head.seq}={head.id.hex()[:6]}" for lane, head in entries)
            return f"ack {signer}#{ackseq} {heads}"
        case Prevote() | Precommit():
            kind = type(message).__name__.lower()
            at = f"{message.height}/{message.round}"
            return f"{kind} {message.signer} {at} {message.block.hex()[:6]}"
        case RoundChange(signer=signer, height=height, round=round_, lock=lock):
            locked = f" lock {lock[0]} {lock[1].hex()[:6]}" if lock else ""
            return f"round-change {signer} {height}/{round_}{locked}"
        case Propose(signer=signer, height=height, round=round_, block=block):
            return f"propose {signer} {height}/{round_} cut {_cut(block)}"
        case Hello():
            return (
                f"hello e{message.epoch} h{message.height} linked {len(message.linked)}"
                f"{' reply?' if message.reply else ''}"
                f" mine {_standing(message.mine)} yours {_standing(message.yours)}"
            )
        case PullSlot(lane=lane, have=have, head=head):
            return f"pull slot {lane}:{have}..{head.seq}={head.id.hex()[:6]}"
        case PullBlock(height=height, block=block_id):
            return f"pull block {height} {block_id.hex()[:6]}"
        case PullRange(height=height):
            return f"pull range {height}"
        case Committed(block=block, certificate=certificate):
            return f"committed {block.height} round {certificate.round} cut {_cut(block)}"
        case BlockMessage(block=block):
            return f"block {block.height} cut {_cut(block)}"
        case SlotCertificate(lane=lane, head=head, acks=acks):
            return f"certificate {lane}:{head.seq}={head.id.hex()[:6]} by {[ack.signer for ack in acks]}"
        case Accusation(evidence=evidence):
            return f"accusation {type(decode_evidence(evidence)).__name__}"
        case _:
            return type(message).__name__
