"""What the hub's meetings take and what not: parameters, limits, keys; with time as an input."""

from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing
from nacl.signing import SigningKey

from signaling.hub.settings import HubSettings
from signaling.meet_keys import sign_namespace
from tests.signaling.hub.meeting import UNLIMITED, Crowd, crowd, pair_of, stores_in_memory


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"TYPE": None}, "TYPE"),
        ({"TYPE": "HELLO"}, "TYPE"),
        ({"NAMESPACE": None}, "NAMESPACE"),
        ({"NAMESPACE": ""}, "NAMESPACE"),
        ({"NAMESPACE": 7}, "NAMESPACE"),
        ({"NAMESPACE": "x" * 513}, "NAMESPACE"),
        ({"SIGNAL": None}, "SIGNAL"),
        ({"SIGNAL": {"sdp": "v=0"}}, "SIGNAL"),
        ({"SIGNAL": "x" * 8193}, "SIGNAL"),
        ({"TYPE": "BOUNCE"}, "NONCE"),
        ({"NONCE": ["n"]}, "NONCE"),
        ({"PUBLIC_KEY": "00" * 32}, "SIGNED_NAMESPACE"),
        ({"PUBLIC_KEY": "00" * 32, "SIGNED_NAMESPACE": "eA=="}, "SIGNED_SIGNAL"),
        ({"SIGNED_NAMESPACE": "eA==", "SIGNED_SIGNAL": "eA=="}, "PUBLIC_KEY"),
        ({"SIGNED_NAMESPACE": "eA==", "SIGNED_SIGNAL": "eA==", "PUBLIC_KEY": "00" * 32}, "SIGNED_NAMESPACE"),
        ({"SIGNED_NAMESPACE": "eA==", "SIGNED_SIGNAL": "eA==", "PUBLIC_KEY": "AB" * 32}, "PUBLIC_KEY"),
    ],
)
async def test_a_missing_parameter_is_named(
    autojump_clock: trio.testing.MockClock, fields: dict[str, Any], named: str
) -> None:
    async with crowd() as all_:
        asked = all_.ask("ann", **fields)
        answer = await asked.wait()
        assert (asked.status, answer["PARAMETER"]) == (499, named)
        assert named in answer["MESSAGE"]


async def test_too_fast_is_said_at_once_and_each_client_has_limits_of_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with crowd(HubSettings()) as all_:
        ann = await all_.holds("ann")
        again = all_.ask("ann")
        fields = await again.wait()
        assert (again.status, again.at, fields["RETRY_AFTER"]) == (297, 0.0, 5.0), (
            "a connection in five seconds"
        )
        assert again.response is not None
        assert again.response.headers["Retry-After"] == "5"
        bob = await all_.ask("bob").wait()
        delivered = all_.ask("bob", NONCE=bob["NONCE"], SIGNAL="b")
        assert (await delivered.wait())["TYPE"] == "DELIVERED", "who is demoted may answer at once"
        third = all_.ask("bob", TYPE="BOUNCE", NONCE="x", SIGNAL="b")
        assert ((await third.wait())["RETRY_AFTER"], third.status) == (1.0, 297), "a request a second"
        await ann.wait()
        await trio.sleep(5)
        await all_.holds("ann")


async def test_two_behind_one_address_are_told_apart_by_what_their_programs_say(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with crowd(HubSettings()) as all_:
        await all_.holds("ann", address="192.0.2.1")
        assert (await all_.ask("bob", address="192.0.2.1").wait())["TYPE"] == "DEMOTE"


async def test_a_key_is_one_client_wherever_it_asks_from_and_never_meets_itself(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {who: SigningKey(who.encode().ljust(32, b".")) for who in ("ann", "bob")}

    def signed(who: str, *, at: int = 1_000_000) -> dict[str, Any]:
        key = keys[who]
        return {
            "NAMESPACE": None,
            "SIGNAL": None,
            "SIGNED_NAMESPACE": sign_namespace(b"tea", key=key, now=at),
            "SIGNED_SIGNAL": f"signed offer of {who}",
            "PUBLIC_KEY": bytes(key.verify_key).hex(),
        }

    monkeypatch.setattr("time.time", lambda: 1_000_000)
    async with crowd(replace(UNLIMITED, meet_connect_every=5)) as all_:
        plain = await all_.holds("cal")
        ann = await all_.holds("ann", **signed("ann"))
        elsewhere = all_.ask("ann", address="elsewhere", **signed("ann"))
        await elsewhere.wait()
        assert elsewhere.status == 297
        await trio.sleep(5)
        await all_.holds("ann", **signed("ann"))
        bob = await all_.ask("bob", **signed("bob")).wait()
        assert (bob["SIGNED_SIGNAL"], bob["PUBLIC_KEY"]) == (
            "signed offer of ann",
            signed("ann")["PUBLIC_KEY"],
        )
        assert "SIGNAL" not in bob
        assert ann.response is plain.response is None, "signed and unsigned ones never meet"
        for at in (1_000_000 - 400, 1_000_000 + 400):
            stale = all_.ask("bob", **signed("bob", at=at))
            assert (await stale.wait(), stale.status)[1] == 499
        stolen = all_.ask("bob", **(signed("bob") | {"PUBLIC_KEY": signed("ann")["PUBLIC_KEY"]}))
        assert (await stolen.wait())["PARAMETER"] == "SIGNED_NAMESPACE"


async def test_a_namespace_takes_so_many_and_no_more(autojump_clock: trio.testing.MockClock) -> None:
    from signaling.hub.store import StoreAway

    async with crowd(replace(UNLIMITED, meet_waiting=2)) as all_:
        store = all_.meets[0]._store
        names = ("ann", "bob", "cal")
        for one in names:
            for other in names:
                await store.remember(pair_of(one=one, other=other), seconds=3600)
        for who in names[:2]:
            await all_.holds(who)
        with pytest.RaisesGroup(pytest.RaisesExc(StoreAway, match="Too many")):
            async with trio.open_nursery() as nursery:
                crowd_of_cal = Crowd(nursery, stores_in_memory(UNLIMITED), UNLIMITED)
                crowd_of_cal.meets = all_.meets
                crowd_of_cal.ask("cal")
