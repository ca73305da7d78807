"""Pages of the site that are made while it is built: the README, its siblings, and the command line from its parser."""

from __future__ import annotations

import re
import sys
from argparse import SUPPRESS, Action, ArgumentParser
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
REPOSITORY = "https://github.com/napari-sam2/napari-sam2"
RAW = "https://raw.githubusercontent.com/napari-sam2/napari-sam2/main/docs/"


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that have no file in docs/."""
    from mkdocs.structure.files import File

    for source, target in ROOT_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=from_root(text)))
    files.append(File.generated(config, "api/commands.md", content=commands_page()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links to the README and its siblings at their pages."""
    up = "../" * page.file.src_uri.count("/")
    for source, target in ROOT_PAGES.items():
        markdown = re.sub(rf"\((?:\.\./)+{source}", f"({up}{target}", markdown)
    return re.sub(
        r"\((?:\.\./)+((?:examples|tests|LICENSE|\.github)[^)]*)\)", rf"({REPOSITORY}/blob/main/\1)", markdown
    )


def on_page_content(html: str, **_: Any) -> str:
    """Show roles of docstrings (``:func:`open_tracker` ``) as code."""
    return re.sub(r":(?:func|meth|class|attr|mod|data|exc):<code>~?", "<code>", html)


def from_root(text: str) -> str:
    """Return a page of the repository's root with links as they are in docs/."""
    text = text.replace(RAW, "").replace(f"{REPOSITORY}/blob/main/docs/", "").replace("](docs/", "](")
    for source, target in ROOT_PAGES.items():
        text = text.replace(f"{REPOSITORY}/blob/main/{source}", target).replace(f"]({source}", f"]({target}")
    return re.sub(r"\]\(((?:LICENSE|examples|\.github)[^)]*)\)", rf"]({REPOSITORY}/blob/main/\1)", text)


def commands_page() -> str:
    """Return a page with every command and option of the parser."""
    sys.path.insert(0, str(ROOT))
    from napari_sam2.cli.options.parser import make_parser

    parser = make_parser()
    [commands] = [a for a in parser._actions if isinstance(a.choices, dict)]
    parts = [
        "# Every command and option\n",
        "Made from the parser when this site is built; `napari-sam2 COMMAND --help` prints the same. "
        "[The command line](../cli.md) explains how commands work together.\n",
        *_options(parser, "For every command"),
    ]
    for name, command in commands.choices.items():
        parts.append(f"\n## {name}\n\n{command.description}\n\n```text\n{_usage(command)}\n```\n")
        for group in command._action_groups:
            title = (group.title or "").capitalize()
            if group._group_actions and title != "Output":
                parts.extend(_options(group, title))
        if command.epilog:
            parts.append(f"\n```text\n{command.epilog.strip()}\n```\n")
    return "\n".join(parts)


def _usage(parser: ArgumentParser) -> str:
    words = [a.metavar or a.dest.upper() for a in parser._actions if not a.option_strings]
    return " ".join([parser.prog, *(w if isinstance(w, str) else " ".join(w) for w in words), "[options]"])


def _options(group: Any, title: str) -> list[str]:
    actions = (
        [a for a in group._group_actions if a.help != SUPPRESS] if hasattr(group, "_group_actions") else []
    )
    if isinstance(group, ArgumentParser):
        actions = [a for a in group._actions if a.option_strings and a.help != SUPPRESS]
    actions = [a for a in actions if "--help" not in a.option_strings]
    rows = [f"| {_names(action)} | {_help(action)} |" for action in actions]
    return [f"\n**{title}**\n", "| | |", "|---|---|", *rows] if rows else []


def _names(action: Action) -> str:
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    value = value if isinstance(value, str) else " ".join(value)
    if action.nargs == 0:
        value = ""
    names = action.option_strings or [""]
    shown = (escape(f"{name} {value}".strip()).replace("|", "&#124;") for name in names)
    return ", ".join(f"<code>{one}</code>" for one in shown)


def _help(action: Action) -> str:
    text = (action.help or "") % {**vars(action), "prog": "napari-sam2"}
    return re.sub(r"([|<*_`])", r"\\\1", " ".join(text.split()))
