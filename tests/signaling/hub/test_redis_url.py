"""What may follow --redis."""

import pytest

from signaling.hub.redis_url import BadRedisUrl, RedisUrl


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("redis://localhost", RedisUrl(host="localhost")),
        ("redis://localhost:6380/3", RedisUrl(host="localhost", port=6380, db=3)),
        ("redis://:se%2Fcret@10.0.0.1/", RedisUrl(host="10.0.0.1", password="se/cret")),
        ("rediss://ann:pw@[::1]:1", RedisUrl(host="::1", port=1, tls=True, username="ann", password="pw")),
        ("unix:///run/redis.sock", RedisUrl(path="/run/redis.sock")),
        ("unix://ann:p%20w@/run/r%20s", RedisUrl(path="/run/r s", username="ann", password="p w")),
        ("unix:///run/redis.sock?db=2", RedisUrl(path="/run/redis.sock", db=2)),
    ],
)
def test_addresses_say_where_and_as_whom(text: str, wanted: RedisUrl) -> None:
    assert RedisUrl.parse(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "", "localhost", "localhost:6379", "http://localhost", "redis://", "redis:///0", "redis://:secret@",
        "redis://localhost:secret", "redis://localhost:99999", "redis://localhost/secret", "redis://localhost/-1",
        "redis://localhost/0/1", "redis://localhost?max_connections=1", "redis://localhost#secret", "unix://",
        "unix:///", "unix:///run/s?timeout=1", "unix:///run/s?db=secret", "unix:///run/s?secret", "redis://[::1",
        "redis://localhost/" + "9" * 5000,
    ],
)  # fmt: skip
def test_what_is_none_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(BadRedisUrl) as refused:
        RedisUrl.parse(text)
    assert "secret" not in str(refused.value)


def test_a_password_is_in_no_representation() -> None:
    url = RedisUrl.parse("redis://ann:secret@localhost")
    assert "secret" not in f"{url} {url!r}"
