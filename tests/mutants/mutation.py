"""A mutant: one rule of the product broken on purpose, as exact source text and what stands there instead.

Nothing in the product knows of it. In a process of its own the changed source is compiled under the real
module's name, before anybody imports it; nothing is written to the disk.
"""

import ast
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parents[2]


class DoesNotApplyError(Exception):
    """The source is no longer what the mutant was written against; says which text is to be found anew."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of one file: `text` must stand there exactly once."""

    file: str
    text: str
    becomes: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A broken rule, and what is known to notice it."""

    name: str
    rule: str
    """What it breaks, in the product's words."""
    edits: tuple[Edit, ...]
    killers: tuple[str, ...] = ()
    """Test ids, below `tests/`; whichever is fastest runs first."""
    seeds: range = range(0)
    """Stories of the simulator that are to notice it if no test is named."""


def changed(source: str, edit: Edit) -> str:
    """The source after one edit; DoesNotApplyError unless the text stands there exactly once."""
    found = source.count(edit.text)
    if found != 1:
        raise DoesNotApplyError(f"{edit.file}: this text stands there {found} times, not once:\n{edit.text}")
    return source.replace(edit.text, edit.becomes)


def sources_of(mutant: Mutant, *, root: Path = ROOT) -> dict[str, str]:
    """The changed source of each module it touches, by module name; DoesNotApplyError says what is stale."""
    sources: dict[str, str] = {}
    for edit in mutant.edits:
        module = edit.file.removesuffix(".py").replace("/", ".")
        try:
            sources[module] = changed(sources.get(module) or (root / edit.file).read_text(), edit)
        except (DoesNotApplyError, OSError) as error:
            raise DoesNotApplyError(f"{mutant.name} does not apply: {error}") from None
    for module, source in sources.items():
        original = (root / module.replace(".", "/")).with_suffix(".py").read_text()
        try:
            same = ast.dump(ast.parse(source)) == ast.dump(ast.parse(original))
        except SyntaxError as error:
            raise DoesNotApplyError(f"{mutant.name} makes {module} no Python: {error}") from None
        if same:
            raise DoesNotApplyError(f"{mutant.name} changes nothing in {module}")
    return sources


class _Loader(SourceFileLoader):
    """Compiles the changed text; no byte code is read or written."""

    def __init__(self, module: str, path: str, source: str) -> None:
        super().__init__(module, path)
        self._source = source

    def get_source(self, fullname: str) -> str:
        return self._source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._sources:
            return None
        file = str((ROOT / fullname.replace(".", "/")).with_suffix(".py"))
        loader = _Loader(fullname, file, self._sources[fullname])
        return spec_from_file_location(fullname, file, loader=loader)


def install(mutant: Mutant) -> None:
    """Switch the mutant on in this process, for good; nothing that it changes may have been imported yet."""
    sources = sources_of(mutant)
    early = sorted(sources.keys() & sys.modules.keys())
    assert not early, f"imported before it could be changed: {early}"
    sys.meta_path.insert(0, _Finder(sources))
