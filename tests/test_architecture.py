"""The house rules that a machine can check (docs/architecture.md says why)."""

import ast
import re
from collections import defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "napari_sam2"
MODULES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES})
# Every command has a `run`, and the writers of the manifest are called as those of the formats.
SHARED_NAMES = {"run"} | {f"write_{kind}" for kind in ("coco", "ctc", "measurements", "ome_zarr", "overlay")}


def name(path):
    return str(path.relative_to(ROOT))


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def import_graph():
    """Modules and what they import: at the top, under TYPE_CHECKING, in functions, and lazily through a stub."""
    modules = {dotted(path): path for path in MODULES}
    lazy = {}
    for stub in PACKAGE.rglob("__init__.pyi"):
        for node in (n for n in tree(stub).body if isinstance(n, ast.ImportFrom)):
            home = f"{dotted(stub)}.{node.module}" if node.level else node.module
            lazy |= {f"{dotted(stub)}.{alias.name}": home for alias in node.names}
    graph = {}
    for module, path in modules.items():
        names = {lazy.get(imported, imported) for imported in names_imported(path)}
        graph[module] = {n if n in modules else n.rpartition(".")[0] for n in names} & set(modules) - {module}
    return graph


def names_imported(path):
    """Yield the full names of modules, and of what is imported from them."""
    package = dotted(path.with_name("__init__.py")).split(".")
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def circle(graph):
    """Return the modules of one circle, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_module_imports_itself_by_any_way():
    assert not circle(import_graph())


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_neither_do_the_parts_of_a_folder(folder):
    """A folder's files and sub-folders, each with all that is in it, import one another in one direction only."""
    inside, depth = dotted(folder / "__init__.py") + ".", len(folder.relative_to(ROOT).parts) + 1
    parts = defaultdict(set)
    for module, targets in import_graph().items():
        if module.startswith(inside):
            part = ".".join(module.split(".")[:depth])
            parts[part] |= {".".join(t.split(".")[:depth]) for t in targets if t.startswith(inside)} - {part}
    assert not circle(parts)


def test_the_plugin_has_seven_floors():
    """A floor is a folder of the plugin, or a file beside its folders; each stands on what it imports."""
    prefix, rooms = "napari_sam2.plugin.", defaultdict(set)
    folders = {dotted(path.with_name("__init__.py")) for path in MODULES}

    def room(module):
        inner = module if module in folders else module.rpartition(".")[0]
        return inner if inner + "." != prefix else module

    for module, targets in import_graph().items():
        if module.startswith(prefix):
            rooms[room(module)] |= {room(t) for t in targets if t.startswith(prefix)} - {room(module)}
    floors: dict[str, int] = {}
    for name_of_room in TopologicalSorter(rooms).static_order():
        floors[name_of_room] = 1 + max((floors[below] for below in rooms[name_of_room]), default=0)
    assert floors[prefix + "layers"] < floors[prefix + "controller"] < floors[prefix + "docks.tracker"]
    assert max(floors.values()) <= 7


def test_every_kind_of_import_counts():
    graph = import_graph()
    assert "napari_sam2.session.video" in graph["napari_sam2.storage.recorded_session"]
    assert "napari_sam2.storage.history" in graph["napari_sam2.storage.project"]
    lazily = {"napari_sam2.automatic.options"}  # through the stub of automatic/
    assert lazily <= graph["napari_sam2.plugin.docks.automatic.candidate_search"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    assert not circle({"a": {"b", "c"}, "b": {"c"}})


def test_no_class_and_no_public_function_exists_twice():
    homes = defaultdict(list)
    for path in MODULES:
        for node in tree(path).body:
            public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
            if (isinstance(node, ast.ClassDef) or public) and node.name not in SHARED_NAMES:
                homes[node.name].append(name(path))
    assert not {key: places for key, places in homes.items() if len(places) > 1}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_files_are_short_and_functions_shorter(path):
    assert path.read_text(encoding="utf-8").count("\n") <= 600, "split the file by concept"
    long = [
        f"{node.name} ({node.end_lineno - node.lineno + 1})"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno + 1 > 60
    ]
    assert not long


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_a_folder_says_what_belongs_there_and_holds_at_most_twenty_files(folder):
    assert len(list(folder.glob("*.py"))) <= 20
    docstring = ast.get_docstring(tree(folder / "__init__.py"))
    assert docstring is not None
    assert re.fullmatch(r"[^.]+\.", re.sub(r"\w\.\w", "", docstring)), "one sentence"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_cupboards(path):
    assert not {"utils", "common", "helpers", "base", "misc"} & {path.stem, *path.relative_to(ROOT).parts}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_there_is_no_state_in_modules(path):
    assert not [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.Global)]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_docstrings_open_with_what_the_thing_is_or_does(path):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(tree(path)) if isinstance(node, kinds)]
    assert not [text for text in texts if re.match(r"(Say|Says|What|Whether|Who)\b", text)]


def test_no_paths_of_one_machine():
    this = Path(__file__)
    files = [p for p in ROOT.rglob("*") if p.suffix in {".py", ".md", ".toml", ".yaml", ".txt"} and p != this]
    files = [p for p in files if not any(part.startswith(".venv") or part == ".git" for part in p.parts)]
    pattern = re.compile(r"/(home|Users|root|work)/\w|/tmp/\w")
    assert not [name(p) for p in files if pattern.search(p.read_text(encoding="utf-8"))]


def test_heavy_libraries_stay_out():
    pattern = re.compile(
        r"^\s*(import|from) (torchvision|cv2|hydra|transformers|omegaconf|iopath|decord)\b", re.M
    )
    assert not [name(p) for p in MODULES if pattern.search(p.read_text(encoding="utf-8"))]
