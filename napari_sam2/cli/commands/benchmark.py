"""``napari-sam2 benchmark``: measure a network on held-out synthetic data and on folders of real data."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.workflow.load_model import load_network
from napari_sam2.training.benchmarks.suites import Extent, Table, resized_model, run_suite


def run(args: Namespace, console: Console) -> None:
    """Run the command: people see every table as soon as it is there, programs get all of them at the end."""
    if args.data is not None and not args.data.is_dir():
        raise CommandError(
            f"{args.data} is not a folder: --data takes the folder that holds the real data sets"
        )
    if args.data is None and {"sequences", "clicks"}.issuperset(args.suite):
        raise UsageError("the suites sequences and clicks need real data: --data FOLDER")
    model = load_network(args.model, args.device, console)
    if args.image_size is not None:
        model = resized_model(model, args.image_size)

    def show(table: Table) -> None:
        if not console.as_json:
            console.result({}, table.text() + "\n")

    extent = Extent.quick() if args.quick else Extent()
    tables = run_suite(model, args.data, args.suite, extent, done=show)
    if console.as_json:
        data = {"model": args.model, "image_size": model.config.image_size}
        console.result({**data, "tables": [_data(table) for table in tables]}, "")


def _data(table: Table) -> dict[str, Any]:
    return {"title": table.title, "rows": [dict(zip(table.header, row, strict=True)) for row in table.rows]}
