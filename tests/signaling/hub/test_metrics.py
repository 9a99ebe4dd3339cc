"""The hub's metrics are what Prometheus reads, and count what happened."""

from prometheus_client.parser import text_string_to_metric_families

from signaling.hub.counts import COUNTED, Counts
from signaling.hub.metrics import metrics_text
from signaling.hub.settings import HubSettings
from tests.signaling.hub.hubs import running


def parsed(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name and labels; none twice."""
    samples = [
        sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples
    ]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def test_prometheus_own_parser_reads_every_number() -> None:
    counts = Counts()
    for at, name in enumerate(COUNTED):
        counts.of[name] = at
    counts.answers["broadcast", 200] = 7
    counts.answers["none", 404] = 1
    counts.gauge("subscribers", "Who listens.", lambda: 2.5)
    found = parsed(metrics_text(counts))
    for at, name in enumerate(COUNTED):
        assert found.pop((f"pigeon_hub_{name}_total", frozenset())) == at
    labels = frozenset({("route", "broadcast"), ("status", "200")})
    assert found.pop(("pigeon_hub_answers_total", labels)) == 7
    assert found.pop(("pigeon_hub_answers_total", frozenset({("route", "none"), ("status", "404")}))) == 1
    assert found.pop(("pigeon_hub_subscribers", frozenset())) == 2.5
    rest = {name: value for (name, _), value in found.items()}
    assert rest.keys() == {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}
    assert all(value > 0 for value in rest.values())


def test_every_family_has_its_kind_and_its_help() -> None:
    families = list(text_string_to_metric_families(metrics_text(Counts()).decode()))
    assert {family.type for family in families} == {"counter", "gauge"}
    assert all(family.documentation for family in families)


async def test_they_count_what_happened() -> None:
    async with running(HubSettings()) as hub, hub.client() as listening, hub.client() as client:
        await listening.subscribe("/v1/app/a")
        for _ in range(3):
            await client.post("/v1/app/a", b"x")
        await client.post("/v1/app/nobody", b"x")
        found = parsed(metrics_text(hub.counts))
    wanted = {
        "published_total": 4,
        "events_total": 3,
        "connections_total": 2,
        "subscribers": 1,
        "channels": 1,
    }
    assert {name: found[f"pigeon_hub_{name}", frozenset()] for name in wanted} == wanted
