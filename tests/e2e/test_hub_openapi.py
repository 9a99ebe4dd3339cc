"""Whatever its own OpenAPI document allows or forbids, the hub answers as the document says, and lives on."""

import http.client
import json
import re
import sys
from pathlib import Path

import trio

from console.children import family

PATIENCE = 90.0
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method"
)
EASY = ("--rate", "0", "--meet-hold", "0.2", "--meet-request-every", "0", "--meet-connect-every", "0")


def schemathesis(url: str, *more: str) -> list[str]:
    """Requests that fit the document and requests that do not; a subscription would not end."""
    return [
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json",
        "--exclude-operation-id", "subscribe", "--checks", CHECKS, "--max-examples", "40", "--seed", "1",
        "--generation-database", "none", "--request-timeout", "10", "--no-color", "--max-time", "12", *more,
    ]  # fmt: skip


async def test_no_request_that_is_made_up_from_the_document_finds_a_fault(tmp_path: Path) -> None:
    async with family() as children:
        hub = await children.start("hub", "hub", "--json", "--listen", "127.0.0.1:0", *EASY)
        url = (await hub.wait_for("hub", within=30))["url"]
        with trio.fail_after(PATIENCE):
            done = await trio.run_process(
                schemathesis(url), capture_stdout=True, stdin=b"", check=False, cwd=tmp_path
            )
        said = done.stdout.decode()
        assert done.returncode == 0, said[-1500:]
        tested = re.search(r"(\d+) generated, \1 passed", said)
        assert tested is not None and int(tested[1]) > 100, said[-1000:]
        assert hub.process.returncode is None
        metrics = await trio.to_thread.run_sync(get, url, "/metrics")
        assert "\npigeon_hub_faults_total 0\n" in metrics


async def test_the_document_names_every_route(tmp_path: Path) -> None:
    async with family() as children:
        hub = await children.start("hub", "hub", "--json", "--listen", "127.0.0.1:0")
        url = (await hub.wait_for("hub", within=30))["url"]
        document = json.loads(await trio.to_thread.run_sync(get, url, "/openapi.json"))
    assert document["openapi"].startswith("3.1.")
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == {
        ("/", "get"),
        ("/healthz", "get"),
        ("/metrics", "get"),
        ("/openapi.json", "get"),
        ("/v1/{app}/{channel}", "get"),
        ("/v1/{app}/{channel}", "post"),
        ("/v1/meet", "post"),
    }


def get(url: str, path: str) -> str:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
