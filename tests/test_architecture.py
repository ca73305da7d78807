"""The house rules that a machine can check (docs/architecture.md says why)."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "napari_sam2").rglob("*.py"))


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_files_are_short_and_functions_shorter(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 600, "split the file by concept"
    long = [
        f"{node.name} ({node.end_lineno - node.lineno + 1})"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno + 1 > 60
    ]
    assert not long


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_cupboards(path):
    assert not {"utils", "common", "helpers", "base", "misc"} & {path.stem, *path.relative_to(ROOT).parts}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_there_is_no_state_in_modules(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)]


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
