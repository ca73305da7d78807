"""The documentation is whole: every page is in the menu, every link leads somewhere, every public name is described.

``make docs`` builds the site itself, with warnings as errors; it needs mkdocs, which the tests do not install.
"""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
HOOKS = runpy.run_path(str(DOCS / "site_hooks.py"))
MADE = {*HOOKS["ROOT_PAGES"].values(), "api/commands.md"}  # pages that exist only in the site
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
API = "\n".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / "api").glob("*.md")))


def name(path):
    return str(path.relative_to(ROOT))


def menu(entries):
    for entry in entries:
        [(_, target)] = entry.items()
        yield from [target] if isinstance(target, str) else menu(target)


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(path):
    """Return the anchors that mkdocs and GitHub give to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def test_the_menu_lists_every_page_once():
    listed = list(menu(SITE["nav"]))
    there = {str(path.relative_to(DOCS).as_posix()) for path in DOCS.rglob("*.md")}
    assert sorted(listed) == sorted(there | MADE)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        if page.is_relative_to(DOCS) and file.removeprefix("../") in MADE:
            continue
        target = page.parent / file if file else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_to_the_repository_lead_to_files_of_it(page):
    """On PyPI relative links lead nowhere, so the README has absolute ones."""
    links = re.findall(
        rf"\(({URLS['Repository']}/[^)\s]+|{HOOKS['RAW']}[^)\s]+)\)", page.read_text(encoding="utf-8")
    )
    for link in links:
        path = re.sub(rf"{URLS['Repository']}/(blob|tree)/main/", "", link).replace(HOOKS["RAW"], "docs/")
        file, _, anchor = path.partition("#")
        if not file.startswith("http"):
            assert (ROOT / file).exists(), link
            assert not anchor or anchor in anchors(ROOT / file), link


def test_addresses_are_the_same_everywhere():
    assert {SITE["repo_url"], HOOKS["REPOSITORY"], URLS["Homepage"]} == {URLS["Repository"]}
    assert SITE["site_url"] == URLS["Documentation"]


@pytest.mark.parametrize(
    "package", ["", ".automatic", ".formats", ".frames", ".review", ".session", ".storage"]
)
def test_every_public_name_is_in_the_reference(package):
    described = set(re.findall(r"^::: (\S+)$", API, flags=re.MULTILINE))
    names = {item.rpartition(".")[2] for item in described}
    for public in import_module(f"napari_sam2{package}").__all__:
        home = getattr(getattr(import_module(f"napari_sam2{package}"), public), "__module__", "")
        assert public in names or home in described, public


@pytest.mark.parametrize("path", re.findall(r"^::: (\S+)$", API, flags=re.MULTILINE))
def test_everything_in_the_reference_exists(path):
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            thing = getattr(thing, part)
        assert thing.__doc__ or parts[-1].isupper()
        return
    pytest.fail(path)


def test_the_page_of_commands_has_every_option():
    from napari_sam2.cli.options.parser import make_parser

    page = HOOKS["commands_page"]()
    [commands] = [action for action in make_parser()._actions if isinstance(action.choices, dict)]
    for command, parser in commands.choices.items():
        part = page.partition(f"\n## {command}\n")[2].partition("\n## ")[0]
        flags = {
            f
            for a in parser._actions
            for f in a.option_strings
            if a.dest not in ("help", "as_json", "quiet", "debug")
        }
        assert flags <= set(re.findall(r"<code>(-[\w-]+)", part)), command


def test_every_printed_command_is_one_that_the_parser_takes():
    """Lines of code blocks that begin with ``napari-sam2``, without what stands in for something ("...")."""
    from napari_sam2.cli.options.parser import make_parser

    lines = set()
    for page in PAGES:
        for block in re.findall(
            r"^```(?:\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            lines |= {line.strip() for line in block.splitlines() if line.strip().startswith("napari-sam2 ")}
    taken = [line for line in lines if "..." not in line]
    assert len(taken) > 30
    for line in taken:
        words = shlex.split(line.partition(" | ")[0].partition(" > ")[0], comments=True)[1:]
        make_parser().parse_args(words)


def templates():
    """Return every string of the package, with "…" where a value is put in."""
    found = []
    for path in (ROOT / "napari_sam2").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_every_message_of_the_troubleshooting_page_is_in_the_code():
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").partition("## Environment variables")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE)
    assert len(messages) > 50
    known = templates()
    for message in messages:
        pieces = [re.escape(piece.strip(" .")) for piece in message.split("…")]
        pattern = re.compile(".*".join(pieces), re.DOTALL)
        assert any(pattern.search(text) for text in known), message


def test_every_variable_of_the_environment_is_told():
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    read = set()
    for path in (ROOT / "napari_sam2").rglob("*.py"):
        read |= set(re.findall(r"environ(?:\.get)?[\[(]\"(\w+)\"", path.read_text(encoding="utf-8")))
    ours = read - {"LOCALAPPDATA", "XDG_CACHE_HOME"}  # the system's own
    assert ours
    assert ours <= set(re.findall(r"`(\w+)`", page))
