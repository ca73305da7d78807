"""All commands and options of ``napari-sam2``; imports nothing that takes time."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import napari_sam2
from napari_sam2.cli.options.automatic_options import (
    AUTO_EXAMPLES,
    add_auto_flags,
    add_frame_by_frame,
    add_track_flags,
)
from napari_sam2.cli.terminal.console import printable
from napari_sam2.formats.registry import FORMATS
from napari_sam2.objects import MAX_OBJECT_ID

MODELS = ("nano", "tiny", "small", "base_plus", "large")
REVIEW_VERBS = ("list", "accept", "absent", "reopen", "end", "swap", "divide", "parent", "undo")
SUITES = ("images", "videos", "presence", "sequences", "clicks", "speed")

_EXAMPLES = """\
examples:
  napari-sam2 demo
  napari-sam2 info movie.mp4
  napari-sam2 track movie.mp4 --point 0:1:320,240 --export mp4,csv
  napari-sam2 resume movie.sam2 --export tiff
  napari-sam2 export movie.sam2 --export coco,ctc

Every command has its own help: napari-sam2 track --help
"""

_TRACK_EXAMPLES = """\
examples:
  one click on object 1 on frame 0, tracked to the end:
    napari-sam2 track movie.mp4 --point 0:1:320,240
  two objects, a background click on the first, a box around the second:
    napari-sam2 track movie.mp4 --point 0:1:320,240 --point 0:1:300,200:- --box 0:2:40,50,120,160
  from labels on the first frame, frames 0 to 99, video and table in the project's exports folder:
    napari-sam2 track cells.tif --mask first_frame.tif --range 0:100 --export mp4,csv
  along z at time point 3 of a T, Z, Y, X stack:
    napari-sam2 track stack.ome.tif --axis z --at t=3 --box 10:1:40,50,120,160 --direction both

Frames count from 0, object ids from 1; x goes right and y down, in pixels. Ctrl-C finishes the frame and saves;
go on with: napari-sam2 resume PROJECT
"""

_BATCH_EXAMPLES = """\
jobs.json is a list of jobs; each has a source and options of track:
  {"defaults": {"model": "nano", "export": "csv"},
   "jobs": [{"source": "mouse1.mp4", "prompts": "mouse1.json"},
            {"source": "mouse2.mp4", "box": "0:1:40,50,120,160"}]}

The same command goes on where it was stopped; what is complete is left alone.
"""


_REVIEW_EXAMPLES = """\
examples:
  napari-sam2 review cells.sam2                        what deserves a look, worst first
  napari-sam2 review cells.sam2 accept 3 --range 10:21  the masks of object 3 on frames 10 to 20 are right
  napari-sam2 review cells.sam2 absent 3 --range 21:25  object 3 is hidden there
  napari-sam2 review cells.sam2 reopen 3 --range 21:25  nothing is decided there any more
  napari-sam2 review cells.sam2 end 3 --frame 40       object 3 is gone from frame 40 on
  napari-sam2 review cells.sam2 swap 3 5 --frame 12    exchange the masks of 3 and 5 from frame 12 on
  napari-sam2 review cells.sam2 divide 3 3 9 --frame 12  object 3 divides: what it goes on with is one daughter,
                                                       object 9 the other
  napari-sam2 review cells.sam2 parent 9 3             object 9 comes from object 3; without 3: from none
  napari-sam2 review cells.sam2 undo                   take back the last step
"""


class _Parser(ArgumentParser):
    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(printable(message), file)  # errors repeat what was typed

    def error(self, message: str) -> NoReturn:
        """Print the error and exit; many files where one source is expected come from a pattern without quotes."""
        files = [Path(word) for word in message.partition("unrecognized arguments: ")[2].split(" ") if word]
        if files and all(file.is_file() for file in files):
            message = (
                f"there are {len(files)} more files than expected ({files[0]} and so on): put a pattern in quotes, "
                f"like '{files[0].with_name('*' + files[0].suffix)}', or the shell replaces it by the files"
            )
        super().error(message)


@cache
def make_parser() -> ArgumentParser:
    """Return the parser of all commands; each sets ``command`` to "module:function" in this package."""
    parser = _Parser(
        prog="napari-sam2",
        description="Segment and track objects in videos, time-lapses and z-stacks with SAM 2.",
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"napari-sam2 {napari_sam2.__version__}")
    _add_common(parser, first=True)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_track(commands)
    _add_resume(commands)
    _add_batch(commands)
    _add_export(commands)
    _add_replay(commands)
    _add_review(commands)
    _add_info(commands)
    _add_evaluate(commands)
    _add_benchmark(commands)
    _add_weights(commands)
    _add_auto(commands)
    _add_train(commands)
    _add_gui(commands)
    return parser


def _add_common(parser: ArgumentParser, first: bool = False) -> None:
    # The options may stand before or after the command; SUPPRESS keeps the later parser from resetting them.
    default = False if first else SUPPRESS
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json",
        dest="as_json",
        action="store_true",
        default=default,
        help="one JSON object a line, for programs",
    )
    group.add_argument("-q", "--quiet", action="store_true", default=default, help="no progress")
    group.add_argument("--debug", action="store_true", default=default, help="tracebacks and all warnings")


def _command(commands: Any, name: str, run: str, title: str, epilog: str | None = None) -> ArgumentParser:
    parser: ArgumentParser = commands.add_parser(
        name,
        help=title,
        description=title[0].upper() + title[1:] + ".",
        epilog=epilog,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    _add_common(parser)
    return parser


def _add_demo(commands: Any) -> None:
    parser = _command(commands, "demo", "demo:run", "track the built-in sample and say how well it went")
    parser.add_argument("--out", type=Path, default=Path("napari-sam2-demo"), help="folder (%(default)s)")
    _add_model(parser, sized=True)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier demo in that folder")


def _add_track(commands: Any) -> None:
    title = "track objects from prompts through a video, time-lapse or stack"
    parser = _command(commands, "track", "track:run", title, _TRACK_EXAMPLES)
    parser.add_argument("source", help="video, TIFF, zarr, npy, image folder or pattern like 'img_*.png'")
    prompts = parser.add_argument_group("prompts (at least one)")
    prompts.add_argument(
        "--point",
        action="append",
        default=[],
        metavar="FRAME:OBJ:X,Y[:+|-]",
        help="a click on the object (+) or beside it (-); repeatable",
    )
    prompts.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="FRAME:OBJ:X0,Y0,X1,Y1",
        help="a box around the object; repeatable",
    )
    prompts.add_argument(
        "--mask",
        type=Path,
        metavar="PATH",
        help="label image (for the first frame of the range) or label stack, COCO, CTC or DAVIS folder",
    )
    prompts.add_argument(
        "--mask-on",
        choices=("all", "first"),
        default="all",
        help="of a label stack, every mask is a prompt, or only each object's first (%(default)s)",
    )
    prompts.add_argument(
        "--mask-series",
        metavar="N",
        help="which video of a COCO file, or image of a stack, with several: number or name",
    )
    prompts.add_argument("--prompts", type=Path, metavar="FILE.json", help="prompts file, see docs/cli.md")
    _add_reading(parser)
    work = parser.add_argument_group("tracking")
    _add_model(work, sized=True)
    _add_range(work, "frames A to B-1 only (all)")
    work.add_argument(
        "--direction",
        choices=("forward", "backward", "both"),
        default="forward",
        help="in time from the prompts (%(default)s)",
    )
    work.add_argument("--objects", type=id_list, metavar="1,2", help="only these objects")
    add_frame_by_frame(work)
    _add_settings(work, "of the session, for example fill_hole_area=8 or precision=fast")
    out = parser.add_argument_group("results")
    out.add_argument(
        "--out",
        type=Path,
        metavar="NAME.sam2",
        help="project folder (the source's name, in the current folder)",
    )
    out.add_argument("--overwrite", action="store_true", help="replace an existing project")
    _add_exports(out)


def _add_resume(commands: Any) -> None:
    parser = _command(commands, "resume", "resume:run", "go on with a project that was stopped or killed")
    parser.add_argument("project", type=Path, help="folder NAME.sam2")
    _add_relocation(parser)
    _add_device(parser)
    _add_exports(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace existing exports")


def _add_batch(commands: Any) -> None:
    title = "track many recordings, on the cores, GPUs or machines that dask.distributed gives"
    parser = _command(commands, "batch", "batch:run", title, _BATCH_EXAMPLES)
    parser.add_argument(
        "jobs", type=Path, metavar="JOBS", help="what to track (JSON, TOML or CSV), see docs/batch.md"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FOLDER",
        help="write a table of all recordings, a page with pictures, and their measurements in one table",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="recordings at a time on this machine (one for each GPU, or for each 4 cores)",
    )
    where.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a running dask scheduler, or its scheduler file"
    )


def _add_export(commands: Any) -> None:
    lines = "\n".join(f"  {f.name:10} {f.file_name:18} {f.title}" for f in FORMATS.values())
    title = "write a project's masks for other programs"
    parser = _command(commands, "export", "export:run", title, f"formats:\n{lines}")
    parser.add_argument("project", type=Path, help="folder NAME.sam2")
    _add_exports(parser, required=True)
    parser.add_argument("--objects", type=id_list, metavar="1,2", help="only these objects")
    parser.add_argument("--overwrite", action="store_true", help="replace existing exports")
    _add_range(parser, "of the overlay: frames A to B-1 only (all)")
    parser.add_argument(
        "--style", choices=("fill", "outline"), default="fill", help="of the overlay (%(default)s)"
    )
    parser.add_argument("--no-ids", action="store_true", help="no ids in the overlay")
    parser.add_argument(
        "--frame-rate", type=float, metavar="FPS", help="of the overlay (that of the source, or 10)"
    )
    _add_relocation(parser)


def _add_replay(commands: Any) -> None:
    title = "compute a project again from its prompts and compare the masks"
    parser = _command(commands, "replay", "replay:run", title)
    parser.add_argument("project", type=Path, help="folder NAME.sam2; it is only read")
    parser.add_argument("--out", type=Path, metavar="NAME.sam2", help="keep the new project here")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing project there")
    _add_relocation(parser)
    _add_device(parser)


def _add_review(commands: Any) -> None:
    title = "list what to look at in a project, and decide it"
    parser = _command(commands, "review", "review:run", title, _REVIEW_EXAMPLES)
    parser.add_argument("project", type=Path, help="folder NAME.sam2")
    parser.add_argument("verb", nargs="?", choices=REVIEW_VERBS, default="list", help="what to do (list)")
    parser.add_argument("objects", nargs="*", type=object_id, metavar="ID", help="objects of the verb")
    _add_range(parser, "of accept, absent and reopen: frames A to B-1 (all)")
    parser.add_argument("--frame", type=whole, metavar="N", help="of end, swap, divide and parent")
    parser.add_argument(
        "--order", choices=("worst", "time"), default="worst", help="of the list (%(default)s)"
    )


def _add_info(commands: Any) -> None:
    parser = _command(commands, "info", "info:run", "say what a source or a project holds")
    parser.add_argument("path", help="video, stack, image folder, or NAME.sam2")
    parser.add_argument(
        "--restore",
        action="store_true",
        help="start a project whose database is destroyed again, from its prompts, objects and settings",
    )
    _add_reading(parser)


def _add_evaluate(commands: Any) -> None:
    parser = _command(commands, "evaluate", "evaluate:run", "compare a project's masks with ground truth")
    parser.add_argument("project", type=Path, help="folder NAME.sam2")
    parser.add_argument(
        "truth", type=Path, help="label stack, COCO, CTC or DAVIS folder with the same frames"
    )
    parser.add_argument(
        "--series", metavar="N", help="which video or image of ground truth with several: number or name"
    )
    _add_range(parser, "frames A to B-1 only (all)")
    parser.add_argument(
        "--match",
        choices=("auto", "ids", "overlap"),
        default="auto",
        help="whose masks belong together: same id, or most overlap; auto: ids if all are known (%(default)s)",
    )
    parser.add_argument("--skip-prompted", action="store_true", help="leave out frames that have a prompt")
    parser.add_argument(
        "--lineage",
        action="store_true",
        help="also TRA, SEG, DET, LNK and divisions (pip install napari-sam2[lineage])",
    )
    parser.add_argument(
        "--unlabelled",
        choices=("skip", "absent"),
        default="skip",
        help="frames that the ground truth does not have: leave them out, or no object is there (%(default)s)",
    )


def _add_benchmark(commands: Any) -> None:
    parser = _command(commands, "benchmark", "benchmark:run", "measure a model on synthetic and real data")
    parser.add_argument(
        "--suite",
        nargs="+",
        choices=SUITES,
        default=SUITES,
        metavar="NAME",
        help=f"{', '.join(SUITES)} (all)",
    )
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="real data sets, for sequences and clicks"
    )
    parser.add_argument(
        "--image-size", type=image_side, metavar="N", help="side of the network's input (the model's)"
    )
    parser.add_argument("--quick", action="store_true", help="little, on other scenes")
    _add_model(parser)


def _add_weights(commands: Any) -> None:
    parser = _command(commands, "weights", "weights:run", "list, download and find model weights")
    parser.add_argument("action", choices=("list", "download", "path"), help="what to do")
    parser.add_argument("model", nargs="?", help=f"{', '.join(MODELS)} (for download and path)")


def _add_auto(commands: Any) -> None:
    title = "find every object on some frames without prompts, and track them"
    parser = _command(commands, "auto", "auto:run", title, AUTO_EXAMPLES)
    # All the flags of the search in the usage line would hide the sentence about an error.
    parser.usage = "napari-sam2 auto SOURCE [--frame N | --frames A:B] [--out FILE] [--track] [OPTIONS]"
    add_auto_flags(parser)
    _add_settings(parser, "of the search, for example points_per_side=16 or min_area=50")
    _add_reading(parser)
    _add_model(parser, sized=True)
    track = parser.add_argument_group("tracking what was found")
    add_track_flags(track)
    _add_range(track, "track in frames A to B-1 only (all)")
    _add_exports(track)


def _add_train(commands: Any) -> None:
    parser = _command(commands, "train", "train:run", "fine-tune a model on projects with corrected masks")
    parser.add_argument("project", nargs="*", type=Path, help="folders NAME.sam2 to learn from")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where checkpoints go")
    parser.add_argument(
        "--preset",
        choices=("finetune", "nano", "nano-continue"),
        default="finetune",
        help="finetune learns from projects; the others train nano from nothing, or further (%(default)s)",
    )
    parser.add_argument(
        "--images", nargs="*", type=Path, default=[], metavar="FOLDER", help="labelled stills, for nano"
    )
    parser.add_argument(
        "--image-size", type=image_side, metavar="N", help="side of the input, for finetune (the model's)"
    )
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="bfloat16 is for GPUs (the recipe's, float32)"
    )
    parser.add_argument("--minutes", type=float, help="stop after so long; the same command goes on")
    _add_model(parser)


def _add_gui(commands: Any) -> None:
    parser = _command(commands, "gui", "gui:run", "open napari with the tracker")
    parser.add_argument("path", nargs="?", help="source or NAME.sam2 to open")


def _add_reading(parser: Any) -> None:
    group = parser.add_argument_group("reading the source")
    group.add_argument("--axis", metavar="AXIS", help="axis to track along: t, z, ... (t, or else z)")
    group.add_argument(
        "--at",
        type=axis_position,
        action="append",
        default=[],
        metavar="AXIS=N",
        help="position on another axis, for example t=3; repeatable",
    )
    group.add_argument(
        "--series", metavar="N", help="which image of a file that holds several: number or name"
    )
    group.add_argument("--axes", metavar="TZYX", help="what the axes are, where the file is silent or wrong")
    group.add_argument(
        "--contrast",
        metavar="LOW,HIGH",
        help="intensities that become black and white, or full, or percentile (8 bit: full, else percentile)",
    )
    group.add_argument(
        "--channels", type=channel_list, metavar="0,2", help="only these channels, from 0 (all)"
    )


def _add_model(parser: Any, sized: bool = False) -> None:
    parser.add_argument(
        "--model",
        default="nano",
        help=f"{', '.join(MODELS)}, a checkpoint file, or owner/name on the hub (%(default)s, no download)",
    )
    if sized:
        parser.add_argument(
            "--image-size",
            type=image_side,
            metavar="N",
            help="side of the network's input in pixels, a multiple of 32; best the one of its training (the model's)",
        )
    _add_device(parser)


def _add_range(parser: Any, text: str) -> None:
    parser.add_argument("--range", type=first_and_last, default=(None, None), metavar="A:B", help=text)


def _add_settings(parser: Any, what: str) -> None:
    text = f"option {what}; repeatable"
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=text)


def _add_device(parser: Any) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (%(default)s)")


def _add_relocation(parser: Any) -> None:
    parser.add_argument("--source", metavar="PATH", help="where the frames are now, if they were moved")


def _add_exports(parser: Any, required: bool = False) -> None:
    parser.add_argument(
        "--export",
        type=format_list,
        default=(),
        required=required,
        metavar="FORMATS",
        help=f"comma-separated: {', '.join(FORMATS)}, or all",
    )
    parser.add_argument("--export-to", type=Path, metavar="FOLDER", help="where exports go (PROJECT/exports)")


def first_and_last(text: str) -> tuple[int | None, int | None]:
    """Read "A:B" (B not included, either may be missing) as two numbers."""
    first, colon, last = text.partition(":")
    try:
        begin, end = (int(part) if part else None for part in (first, last))
    except ValueError:
        begin, end, colon = None, None, ""
    if not colon or (begin is not None and begin < 0) or (end is not None and end <= (begin or 0)):
        raise ArgumentTypeError(f"{text!r} is not a range of frames: write A:B, for example 0:100 or 50:")
    return begin, end


def id_list(text: str) -> tuple[int, ...]:
    """Read "1,2,5" as object ids."""
    try:
        ids = tuple(int(part) for part in text.split(","))
    except ValueError:
        ids = ()
    if not ids or not all(1 <= i <= MAX_OBJECT_ID for i in ids):
        raise ArgumentTypeError(
            f"{text!r} is not a list of object ids: write numbers from 1 to {MAX_OBJECT_ID}, like 1,2,5"
        )
    return ids


def object_id(text: str) -> int:
    """Read one object id."""
    return id_list(text)[0]


def whole(text: str) -> int:
    """Read a frame number."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a frame: frames count from 0")
    return int(text)


def channel_list(text: str) -> tuple[int, ...]:
    """Read "0,2" as numbers of channels."""
    try:
        channels = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        channels = ()
    if not channels or min(channels) < 0:
        raise ArgumentTypeError(f"{text!r} is not a list of channels: write numbers from 0 on, like 0,2")
    return channels


def format_list(text: str) -> tuple[str, ...]:
    """Read "tiff,coco" as names of export formats; "all" is all of them."""
    if text == "all":
        return tuple(name for name, known in FORMATS.items() if known.available)
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [n for n in names if n not in FORMATS]
    if unknown or not names:
        what = repr(unknown[0]) if unknown else "nothing"
        raise ArgumentTypeError(f"{what} is not an export format: use {', '.join(FORMATS)} or all")
    return names


def axis_position(text: str) -> tuple[str, int]:
    """Read "AXIS=NUMBER"."""
    axis, equals, number = text.partition("=")
    try:
        return axis.strip().lower() if equals and axis.strip() else _fail(), int(number)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a position: write AXIS=NUMBER, for example t=3") from None


def image_side(text: str) -> int:
    """Read the side of a network's input, a positive multiple of 32."""
    side = int(text) if text.isdecimal() else 0
    if not side or side % 32:
        raise ArgumentTypeError(f"{text} is no input size: it must be a positive multiple of 32, like 512")
    return side


def positive(text: str) -> int:
    """Read a number of things, at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _fail() -> str:
    raise ValueError
