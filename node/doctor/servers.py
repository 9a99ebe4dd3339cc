"""STUN and TURN servers: do they answer, what stands between us and them, does the relay carry anything."""

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Final

import trio

from node.doctor.finding import Finding, as_problem, fine, problem, warning
from node.doctor.network import is_private, link_to_itself
from node.doctor.subject import Subject
from node.errors import ConnectFailed
from node.ice_servers import Finding as Said
from node.ice_servers import IceServers, Server, cure, in_words, mapping_of, parse_server, read_turn_file
from node.webrtc import open_rtc
from signaling.handshake import Role

_TCP_WITHIN: Final = 1.5
_RELAY_WITHIN: Final = 4.0

_NEED_TURN: Final = (
    "Here you need TURN: give --turn-file FILE, with a TURN server's address, user name and password."
)
_SEE_TWICE: Final = (
    "Name a second --stun server, or another port of this one: only two show whether you need TURN."
)
_PERMIT_UDP: Final = (
    "Use another network, or ask whoever runs this one to permit UDP: without it nobody beyond is met."
)


async def check_servers(subject: Subject) -> list[Finding]:
    """Those that are named, and no other."""
    ice, troubles = subject.ice, list[Finding]()
    if subject.turn_trouble is not None:
        trouble = as_problem("turn", subject.turn_trouble, found="Its file cannot be used.")
        if ice.relay_only:
            return [replace(trouble, cuts_off=True)]
        ice, troubles = replace(ice, turn_file=None), [trouble]
    if not ice.stun and ice.turn_file is None:
        return troubles
    said = await _ask(ice)
    tcp: set[str] = set()
    relay: str | None = None
    relayed = any(each.kind == "turn" and each.found is not None for each in said)

    async def knock(server: str) -> None:
        if await _takes_tcp(parse_server(server, scheme="stun")):
            tcp.add(server)

    async def carry() -> None:
        nonlocal relay
        relay = await _carries(ice)

    async with trio.open_nursery() as nursery:
        for server in {each.server for each in said if each.error == "silent"}:
            nursery.start_soon(knock, server)
        if relayed:
            nursery.start_soon(carry)
    turn = _turn(said, relay=relay, tcp=tcp, only=ice.relay_only) if ice.turn_file is not None else []
    works = any(each.state != "problem" for each in turn)
    if ice.relay_only:
        unasked = fine("stun", "No STUN server was asked: with --relay-only the relay alone is shown.")
        return [*([unasked] if ice.stun else []), *turn]
    answered = any(each.kind == "stun" and each.found is not None for each in said)
    stun = [_stun(server, said, tcp=tcp, others_answer=answered) for server in ice.stun]
    return [*stun, *_nat(said, turn_works=works), *turn, *troubles]


async def _ask(ice: IceServers) -> Sequence[Said]:
    """What each says, asked as for a link; a TURN server is a second one to see the router by."""
    if len(ice.stun) == 1 and ice.turn_file is not None and not ice.relay_only:
        turn = await trio.to_thread.run_sync(read_turn_file, ice.turn_file)
        ice = replace(ice, stun=tuple(dict.fromkeys((*ice.stun, turn.server))))
    async with open_rtc(ice=ice) as rtc:
        try:
            async with rtc.connection(Role.OFFERER) as connection:
                return connection.findings
        except ConnectFailed:
            return rtc.findings


async def _takes_tcp(server: Server) -> bool:
    """Most STUN servers listen there, too: so a dead one is told from a network that drops UDP."""
    with trio.move_on_after(_TCP_WITHIN):
        try:
            stream = await trio.open_tcp_stream(server.host, server.port)
        except OSError:
            return False
        await trio.aclose_forcefully(stream)
        return True
    return False


async def _carries(ice: IceServers) -> str | None:
    """Link two ends with each other through the relay; what went wrong, or None."""
    async with open_rtc(ice=replace(ice, stun=(), relay_only=True)) as rtc:
        return await link_to_itself(rtc, within=_RELAY_WITHIN)


def _of(said: Sequence[Said], server: Server) -> list[Said]:
    return [each for each in said if each.kind == "stun" and each.server == str(server)]


def _best(said: Sequence[Said]) -> Said:
    """What the luckiest of our sockets heard; an address of another family hears nothing, and says less."""
    return min(
        said, key=lambda each: (each.found is None, each.error == "unroutable", each.error != "silent")
    )


def _stun(server: Server, said: Sequence[Said], *, tcp: Set[str], others_answer: bool) -> Finding:
    what, heard = f"stun {server}", _of(said, server)
    best = _best(heard) if heard else Said(kind="stun", server=str(server), error="unroutable")
    if best.found is not None:
        return fine(what, f"It answers in {best.seconds * 1000:.0f} ms.")
    if best.error != "silent":
        return _in_trouble(what, best)
    if str(server) in tcp and not others_answer:
        return _no_udp(what)
    if others_answer:
        return problem(
            what,
            "It does not answer, while others do.",
            cause="This server is down, or is no STUN server.",
            cure="Check HOST:PORT, or leave it out.",
        )
    return problem(
        what,
        "It does not answer, neither over UDP nor over TCP.",
        cause="The server is down, or this network lets nothing through to it.",
        cure="Name another --stun server; if none answers, UDP is blocked here: use another network.",
    )


def _no_udp(what: str) -> Finding:
    return problem(
        what,
        "It does not answer over UDP, though it does over TCP.",
        cause="Something on the way, a firewall most likely, drops UDP.",
        cure=_PERMIT_UDP,
    )


def _in_trouble(what: str, said: Said) -> Finding:
    return problem(what, "It cannot be used.", cause=in_words(said), cure=cure(said))


def _nat(said: Sequence[Said], *, turn_works: bool) -> list[Finding]:
    """What the answers together say of the router."""
    match mapping_of(said):
        case None:
            return []
        case "open":
            return [
                fine("router", "None changes our addresses: others see us as we are, firewalls permitting.")
            ]
        case "port for each" if turn_works:
            return [
                fine(
                    "router",
                    "It gives every destination another port, so others reach you by the TURN server only.",
                )
            ]
        case "port for each":
            return [
                replace(
                    problem(
                        "router",
                        "Others cannot reach you directly.",
                        cause="Your router gives every destination another port (a symmetric NAT), so nobody "
                        "can be told in advance where you are.",
                        cure=_NEED_TURN,
                    ),
                    needs_turn=True,
                )
            ]
        case "one port":
            if _seen_by_two(said):
                found = "It shows the same port to everybody, so others can be told where to reach you."
                return [fine("router", found)]
            return [_seen_once(said)]


def _seen_once(said: Sequence[Said]) -> Finding:
    """One answer proves nothing; but a router that keeps our ports rarely gives others to others."""
    ports = [
        (each.local[1], each.found[1]) for each in said if each.kind == "stun" and each.found and each.local
    ]
    if all(ours == theirs for ours, theirs in ports):
        return fine("router", "It keeps our ports, so others can most likely be told where to reach you.")
    return warning(
        "router",
        "It changes our ports; whether others can be told where to reach you is open.",
        cause="One server alone cannot show whether your router gives every destination another port.",
        cure=_SEE_TWICE,
    )


def _seen_by_two(said: Sequence[Said]) -> bool:
    """Whether one socket of ours has answers from two."""
    locals_ = [each.local for each in said if each.kind == "stun" and each.found is not None]
    return len(locals_) > len(set(locals_))


def _turn(said: Sequence[Said], *, relay: str | None, tcp: Set[str], only: bool) -> list[Finding]:
    heard = next((each for each in said if each.kind == "turn"), None)
    if heard is None:
        heard = Said(kind="turn", server="", error="unroutable")
    what = f"turn {heard.server}".rstrip()
    if heard.found is None:
        if heard.error == "silent" and heard.server in tcp:
            return [replace(_no_udp(what), cuts_off=only)]
        if heard.error == "silent":
            silent = problem(
                what,
                "It does not answer.",
                cause="The server is down, or something on the way drops UDP.",
                cure="Check HOST:PORT in the file of --turn-file; try from another network.",
            )
            return [replace(silent, cuts_off=only)]
        return [replace(_in_trouble(what, heard), cuts_off=only)]
    if relay is not None:
        stuck = problem(
            what,
            f"It gives an address, and carries nothing: {relay}",
            cause="Its firewall closes the ports that it gives away, or it may not send to its own address.",
            cure="Whoever runs it opens its relay ports (49152 to 65535), or permits its address as a peer.",
        )
        return [replace(stuck, cuts_off=only)]
    if is_private(heard.found[0]):
        return [
            warning(
                what,
                f"It works, and gives {heard.found[0]}, which is good in its own network only.",
                cause="The server does not know its public address.",
                cure="Whoever runs it has to set that (in coturn: external-ip).",
            )
        ]
    alone = " Others are shown no other address." if only else ""
    return [fine(what, f"It works: a link was made through it, by {heard.found[0]}.{alone}")]
