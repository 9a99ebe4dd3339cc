"""What findings come to, what servers' words mean, and that no check can hang the others."""

import os
import time
from pathlib import Path

import pytest
import trio

from node.config import Home, RoomConfig
from node.create import create_room
from node.doctor.examination import run_checks
from node.doctor.finding import Finding, fine, problem, sum_up, warning
from node.doctor.folders import check_folder
from node.doctor.home import check_keys
from node.doctor.machine import check_clock
from node.doctor.network import is_private
from node.doctor.servers import _nat, _turn
from node.doctor.subject import Subject
from node.errors import Exit, NodeError, UsageError
from node.ice_servers import Finding as Said
from node.ice_servers import IceOptions, IceServers, Server

WELL = fine("a", "It works.")
KNOW = warning("b", "It may work.", cause="A cause.", cure="A cure.")
BAD = problem("c", "It does not work.", cause="A cause.", cure="A cure.")
CUT = problem("d", "Nobody is reached.", cause="A cause.", cure="A cure.", cuts_off=True)


@pytest.mark.parametrize(
    ("findings", "code", "worst"),
    [
        ([WELL, WELL], Exit.DONE, None),
        ([WELL, KNOW], Exit.DONE, KNOW),
        ([KNOW, BAD, WELL], Exit.NO, BAD),
        ([BAD, KNOW, CUT], Exit.UNREACHABLE, CUT),
    ],
)
def test_what_cuts_off_comes_before_problems_and_these_before_warnings(
    findings: list[Finding], code: Exit, worst: Finding | None
) -> None:
    diagnosis = sum_up(findings)
    assert diagnosis.code == code
    if worst is None:
        assert (diagnosis.cause, diagnosis.cure) == ("", "")
    else:
        assert diagnosis.found == f"{worst.what}: {worst.found}"
        assert (diagnosis.cause, diagnosis.cure) == (worst.cause, worst.cure)
    assert diagnosis.problems + diagnosis.warnings == sum(each.state != "ok" for each in findings)


async def test_a_check_that_hangs_is_a_finding_and_the_others_come_out_in_order() -> None:
    seen: list[tuple[int, int]] = []

    async def well() -> list[Finding]:
        return [WELL]

    async def progress(done: int, count: int) -> None:
        seen.append((done, count))

    with trio.fail_after(5):
        findings = await run_checks(
            [("first", well), ("drive", trio.sleep_forever), ("last", well)], within=0.2, on_progress=progress
        )
    assert [each.what for each in findings] == ["a", "drive", "a"]
    assert (findings[1].state, "within 0.2 s" in findings[1].found) == ("problem", True)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def _stun(server: str, port: int, *, local: int = 4000) -> Said:
    return Said(kind="stun", server=server, local=("192.168.1.2", local), found=("203.0.113.5", port))


@pytest.mark.parametrize(
    ("said", "state", "needs_turn", "text"),
    [
        ([_stun("one", 5000), _stun("two", 5000)], "ok", False, "the same port to everybody"),
        ([_stun("one", 5000), _stun("two", 5001)], "problem", True, "another port"),
        ([_stun("one", 5000)], "warning", False, "One server alone"),
        ([_stun("one", 4000)], "ok", False, "keeps our ports"),
        ([_stun("one", 5000), _stun("two", 5001, local=4001)], "warning", False, "One server alone"),
    ],
)
def test_two_answers_to_one_socket_show_what_kind_the_router_is(
    said: list[Said], state: str, needs_turn: bool, text: str
) -> None:
    (finding,) = _nat(said, turn_works=False)
    assert (finding.state, finding.needs_turn) == (state, needs_turn)
    assert text in f"{finding.found} {finding.cause}"


def test_with_a_relay_that_works_a_router_with_many_ports_is_no_problem() -> None:
    (finding,) = _nat([_stun("one", 5000), _stun("two", 5001)], turn_works=True)
    assert (finding.state, finding.needs_turn) == ("ok", False)


def test_a_relay_with_a_private_address_is_told_of_and_only_where_it_alone_may_be_used_it_cuts_off() -> None:
    given = Said(kind="turn", server="relay:3478", found=("10.0.0.7", 50_000))
    (finding,) = _turn([given], relay=None, tcp=set(), only=False)
    assert (finding.state, "external-ip" in finding.cure) == ("warning", True)
    for error in ("silent", "credentials", "full", "unresolved", "odd"):
        failed = Said(kind="turn", server="relay:3478", error=error)
        for only in (False, True):
            (finding,) = _turn([failed], relay=None, tcp=set(), only=only)
            assert (finding.state, finding.cuts_off) == ("problem", only)
            assert finding.cause and finding.cure
    silent = Said(kind="turn", server="relay:3478", error="silent")
    (finding,) = _turn([silent], relay=None, tcp={"relay:3478"}, only=False)
    assert "drops UDP" in finding.cause
    (finding,) = _turn([given], relay="nothing came.", tcp=set(), only=True)
    assert (finding.state, finding.cuts_off) == ("problem", True)


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("10.1.2.3", True), ("172.31.0.1", True), ("172.32.0.1", False), ("192.168.0.9", True),
        ("100.64.0.1", True), ("100.128.0.1", False), ("169.254.1.1", True), ("127.0.0.1", True),
        ("203.0.113.1", False), ("fd00::1", True), ("2001:db8::1", False), ("fe80::1", True),
    ],
)  # fmt: skip
def test_which_addresses_lead_nowhere_from_elsewhere(address: str, private: bool) -> None:
    assert is_private(address) is private


def _room(home: Home, **fields: object) -> RoomConfig:
    room = RoomConfig(name="tea", fingerprint="ab" * 32, nick="ann", via=("paste",), **fields)
    home.save(room)
    return room


def test_what_is_given_counts_and_else_what_the_only_room_remembers(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    assert Subject.of(home, wanted=None) == Subject(home=home, room=None, via=())
    servers = IceServers(stun=(Server("one.invalid"),))
    room = _room(home, **servers.to_settings())
    assert Subject.of(home, wanted=None) == Subject(home=home, room=room, via=("paste",), ice=servers)
    given = Subject.of(home, wanted="tea", via=("qr",), ice=IceOptions(stun=("two.invalid:99",)))
    assert (given.via, given.ice.stun) == (("qr",), (Server("two.invalid", 99),))
    with pytest.raises(NodeError):
        Subject.of(home, wanted="coffee")
    with pytest.raises(UsageError):
        Subject.of(home, wanted=None, via=("pigeon:home",))


def test_a_remembered_turn_file_that_vanished_is_told_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    servers = IceServers(stun=(Server("one.invalid"),), turn_file=tmp_path / "gone", relay_only=True)
    _room(home, **servers.to_settings())
    subject = Subject.of(home, wanted=None)
    assert subject.turn_trouble is not None and "gone" in subject.turn_trouble.message
    assert (subject.ice.turn_file, subject.ice.relay_only) == (None, True)


def test_a_clock_before_this_program_was_installed_is_wrong(tmp_path: Path) -> None:
    subject = Subject.of(Home.at(tmp_path), wanted=None)
    assert [each.state for each in check_clock(subject)] == ["ok"]
    (finding,) = check_clock(subject, now=0.0)
    assert (finding.state, "1970-01-01" in finding.found) == ("problem", True)


def test_where_a_file_without_a_name_cannot_be_made_the_one_with_a_name_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, really = [], os.open

    def without_tmpfile(path: str, flags: int, *arguments: int, **options: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")  # as FAT and some network drives do
        made.append(str(path))
        return really(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", without_tmpfile)
    (finding,) = check_folder(f"dir:{tmp_path}", remembered=False)
    assert finding.state == "ok"
    assert any(name.startswith(".pigeon-") for name in made)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("off", "text"), [(7200, "2 hours behind ours"), (-86_400 * 3, "3 days ahead of ours")]
)
def test_a_folder_whose_clock_is_not_ours_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: float, text: str
) -> None:
    really = time.time
    monkeypatch.setattr(
        time, "time", lambda: really() + off
    )  # a server's cannot be set from here, so ours is
    (finding,) = check_folder(f"log:{tmp_path}", remembered=False)
    assert (finding.state, text in finding.found) == ("warning", True)
    assert "Set this machine's clock" in finding.cure
    assert list(tmp_path.iterdir()) == []


async def test_the_rooms_password_is_looked_at_where_there_is_one(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    room = await create_room(home, name="tea", nick="ann", via=("paste",), password="teatime")
    subject = Subject.of(home, wanted=None)
    assert [(each.what, each.state) for each in check_keys(subject)] == [
        ("identity", "ok"),
        ("vote key", "ok"),
        ("password", "ok"),
    ]
    (home.room_directory(room.fingerprint) / "password.key").write_bytes(b"{}")
    broken = check_keys(subject)[-1]
    assert (broken.what, broken.state) == ("password", "problem")
    assert "Copy that of another member" in broken.cure
