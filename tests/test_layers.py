"""The house holds: imports run one way, the chain stays pure, and five files alone see asyncio."""

import ast
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("chain", "signaling", "node", "console", "cli")

MAY_IMPORT = {
    "chain": {"chain"},
    "signaling": {"signaling"},
    "node": {"node", "chain", "signaling"},
    "console": {"console", "node"},
    "cli": {"cli", "console", "node"},
}
NODE_PUBLIC = {
    "node.api", "node.config", "node.control", "node.doctor", "node.errors", "node.events",
    "node.ice_servers", "node.keys", "node.lobby", "node.meet", "node.meet_keys", "node.node",
    "node.offline", "node.password", "node.pipe", "node.pipe_files", "node.repair", "node.succession",
    "node.tokens", "node.verdict",
}  # fmt: skip
IMPURE = {
    "asyncio", "datetime", "logging", "multiprocessing", "queue", "random", "secrets", "socket", "subprocess",
    "tempfile", "threading", "time", "trio", "uuid",
}  # fmt: skip
DISK = {"sqlite3", "os", "shutil", "fcntl", "io"}
ASYNCIO_SIDE = {"asyncio", "trio_asyncio", "aiortc", "aioice", "av", "pyee"}


def sources(room: str) -> list[Path]:
    return [ROOT / "cli.py"] if room == "cli" else sorted((ROOT / room).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_ours(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] in ROOMS


def exists(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def is_hub(name: str) -> bool:
    return name == "signaling.hub" or name.startswith("signaling.hub.")


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in it."""
    nodes = [*ast.parse(path.read_text()).body]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, f"{path}: a relative import"
            yield node.module
            yield from (name for alias in node.names if exists(name := f"{node.module}.{alias.name}"))
        else:
            nodes += ast.iter_child_nodes(node)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room: str) -> None:
    crossing = {
        f"{module_name(path)} imports {name}"
        for path in sources(room)
        for name in imports(path)
        if is_ours(name) and name.split(".", maxsplit=1)[0] not in MAY_IMPORT[room]
        if not (room == "console" and is_hub(name))
    }
    assert sources(room)
    assert crossing == set()


def test_the_hubs_server_is_a_house_of_its_own_that_the_console_alone_starts() -> None:
    visitors = {
        (module_name(path), name)
        for room in ROOMS
        for path in sources(room)
        if not is_hub(module_name(path)) and room != "console"
        for name in imports(path)
        if is_hub(name)
    }
    assert visitors == set()


def test_what_an_extra_brings_is_seen_by_one_file_that_is_imported_when_asked_for() -> None:
    seeing = {
        (module_name(path), name.partition(".")[0])
        for room in ROOMS
        for path in sources(room)
        for name in imports(path)
        if name.split(".", maxsplit=1)[0] in ("anyio", "coredis")
    }
    asking = ("console.hub_stores", "coredis")  # whether it is there
    assert seeing == {("signaling.hub.redis_link", "anyio"), ("signaling.hub.redis_link", "coredis"), asking}


def test_the_chain_imports_the_standard_library_msgspec_and_nacl_only() -> None:
    allowed = {"chain", "msgspec", "nacl", *sys.stdlib_module_names}
    foreign = {
        (module_name(path), name)
        for path in sources("chain")
        for name in imports(path)
        if name.split(".", maxsplit=1)[0] not in allowed
    }
    assert foreign == set()


def test_the_chain_has_no_clock_no_dice_no_log_no_thread_and_no_async() -> None:
    impure = {
        (module_name(path), name)
        for path in sources("chain")
        for name in imports(path)
        if name.split(".", maxsplit=1)[0] in IMPURE
    }
    assert impure == set()
    for path in sources("chain"):
        asynchronous = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
        ]
        assert asynchronous == [], path


def test_only_the_store_of_the_chain_touches_the_disk() -> None:
    touching = {
        path.name
        for path in sources("chain")
        for name in imports(path)
        if name.split(".", maxsplit=1)[0] in DISK
    }
    assert all(name.startswith("store") for name in touching), touching


def test_five_files_alone_see_asyncio() -> None:
    seeing = {
        module_name(path)
        for room in ROOMS
        for path in sources(room)
        for name in imports(path)
        if name.split(".", maxsplit=1)[0] in ASYNCIO_SIDE
    }
    assert seeing == {
        "node.webrtc", "node.webrtc_connection", "node.webrtc_guards", "node.webrtc_ice", "node.webrtc_turn",
    }  # fmt: skip


def test_the_console_and_the_command_table_use_the_public_part_of_the_node_only() -> None:
    private = {
        (module_name(path), name)
        for room in ("console", "cli")
        for path in sources(room)
        for name in imports(path)
        if name.startswith("node.") and name not in NODE_PUBLIC
    }
    assert private == set()


def test_nothing_that_people_run_leads_to_the_liar_of_the_demo() -> None:
    every = [path for room in ROOMS for path in sources(room)]
    assert [path for path in every for name in imports(path) if "liar" in name] == []
    naming = {module_name(path) for path in every if "node.liar" in path.read_text()}
    assert naming <= {"node.liar", "console.demo"}, "the demo starts it by name, as a program of its own"


def test_imports_run_in_no_circle_not_even_lazy_ones() -> None:
    needs = {
        module_name(path): {name for name in imports(path) if is_ours(name) and exists(name)}
        for room in ROOMS
        for path in sources(room)
    }
    while free := {name for name, needed in needs.items() if not needed - {name} & needs.keys()}:
        needs = {name: needed - free for name, needed in needs.items() if name not in free}
    assert needs == {}, "these import one another in a circle"


def test_nobody_else_installs_a_module_with_one_of_our_names() -> None:
    claims = importlib.metadata.packages_distributions()
    assert {room: claims.get(room, ["pigeon"]) for room in ROOMS} == {room: ["pigeon"] for room in ROOMS}
    elsewhere = [
        Path(place, room)
        for place in sys.path
        if place and Path(place).resolve() != ROOT
        for room in (*ROOMS, "cli.py", "chain.py", "node.py")
        if Path(place, room).exists()
    ]
    # A wheel of our own may be installed beside the checkout; then all five names come from it.
    assert elsewhere == [] or claims.get("cli") == ["pigeon"], elsewhere


def test_no_test_directory_is_a_package_that_could_shadow_ours() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
