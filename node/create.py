"""A new room of one, and reading the invitation to somebody else's."""

import secrets
import time
from collections.abc import Sequence
from typing import assert_never

import trio

from chain.control import MAX_NAME, MAX_NICK, AdmissionRule, is_plain_name, make_genesis
from chain.crypto import Ed25519Signer
from chain.ids import Hash, MemberId
from node.config import (
    DEFAULT_MAX_PEERS,
    MAX_VIA,
    VOTE_FILE,
    Home,
    RoomConfig,
    Rule,
    make_private_directory,
    sync_directory,
)
from node.disk import create_store
from node.errors import UsageError
from node.failure import one_error
from node.ice_servers import IceServers
from node.keys import create_key, load_or_create_key, write_seed
from node.password import PASSWORD_FILE
from node.succession import cite
from node.webrtc import open_rtc
from signaling.carriers import carrier_from_spec
from signaling.description import Offer, decode_offer
from signaling.errors import SignalError
from signaling.invitation import Invitation, decode_invitation
from signaling.password import stretch
from signaling.token import Kind, find_tokens, from_token


async def create_room(
    home: Home,
    *,
    name: str,
    nick: str,
    rule: Rule = "ask",
    via: Sequence[str],
    max_peers: int = DEFAULT_MAX_PEERS,
    continues: RoomConfig | None = None,
    password: str | None = None,
    ice: IceServers | None = None,
) -> RoomConfig:
    """Found a room: its keys, store and settings are on disk when this returns. UsageError, NodeError.

    `continues`: a room of this home whose last certified block the new one cites; it stays as it is.
    `password`: what every newcomer will be asked for, 1 to 256 characters.
    `ice`: the servers that the room remembers; ConnectFailed when it is to be met through a relay only, and
    that gives no address.
    """
    ice = ice or IceServers()
    check_name(name, what="The room's name", limit=MAX_NAME)
    check_name(nick, what="A nick", limit=MAX_NICK)
    carriers = checked_carriers(via)
    if any(room.name == name for room in home.rooms()):
        raise UsageError(f"There is a room called {name!r} here already.", "Give the new one another name.")

    if ice.relay_only:
        with one_error():
            async with open_rtc(ice=ice) as rtc:
                await rtc.prove()

    def found() -> RoomConfig:
        parent = None if continues is None else cite(home, continues)
        identity = load_or_create_key(home.identity_file, purpose="identity")
        # The directory has the genesis's name, and that depends on the vote key: so the key comes first.
        making = home.data / "rooms" / f".new-{secrets.token_hex(8)}"
        make_private_directory(making)
        vote = create_key(making / VOTE_FILE, purpose="vote")
        genesis = make_genesis(
            name=name,
            rule=AdmissionRule(rule),
            nonce=Hash(secrets.token_bytes(32)),
            nick=nick,
            identity=Ed25519Signer(bytes(identity)),
            vote=Ed25519Signer(bytes(vote)),
            parent=parent,
        )
        fingerprint = genesis.room_id().hex()
        if password is not None:
            write_seed(making / PASSWORD_FILE, stretch(password, room=genesis.room_id()), purpose="password")
        making.rename(home.room_directory(fingerprint))
        sync_directory(making.parent)
        create_store(home, genesis, me=MemberId(bytes(identity.verify_key))).close()
        room = RoomConfig(
            name=name,
            fingerprint=fingerprint,
            nick=nick,
            via=carriers,
            rule=rule,
            max_peers=max_peers,
            created=time.time_ns() // 1_000_000,
            **ice.to_settings(),
        )
        home.save(room)
        return room

    return await trio.to_thread.run_sync(found)


def read_invitation(text: str) -> Invitation | Offer:
    """What a pasted invitation says, or an offer that is one too; UsageError with what is wrong with it.

    Of several the first that is of use: people copy whole conversations.
    """
    try:
        tokens = find_tokens(text)
    except SignalError as error:
        raise UsageError(error.message, error.hint) from error
    wrong: list[UsageError] = []
    for token in tokens:
        try:
            return _read_invitation(token, now=int(time.time()))
        except UsageError as error:
            wrong.append(error)
    raise wrong[0]


def _read_invitation(token: str, *, now: int) -> Invitation | Offer:
    try:
        kind, payload = from_token(token)
        match kind:
            case Kind.INVITATION:
                return decode_invitation(payload, now=now)
            case Kind.OFFER:
                return decode_offer(payload, room=None, me=None, now=now)
            case Kind.ANSWER:
                raise UsageError(
                    "This is an answer, not an invitation.", "It belongs where the invitation came from."
                )
            case _:
                assert_never(kind)
    except SignalError as error:
        raise UsageError(error.message, error.hint) from error


def check_name(name: str, *, what: str, limit: int) -> None:
    """UsageError for a nick or a room's name that the chain would refuse."""
    if not is_plain_name(name, limit):
        raise UsageError(
            f"{what} must be 1 to {limit} printable characters without space around them.",
            "Choose another one.",
        )


def checked_carriers(via: Sequence[str]) -> tuple[str, ...]:
    """The specs in full ("dir:" with an absolute path), each once; UsageError for an unknown one."""
    specs: dict[str, None] = {}
    for spec in via:
        try:
            specs[carrier_from_spec(spec).spec] = None
        except SignalError as error:
            raise UsageError(error.message, error.hint) from error
    if len(specs) > MAX_VIA:
        raise UsageError(f"{len(specs)} carriers are too many.", f"Use at most {MAX_VIA}.")
    return tuple(specs)
