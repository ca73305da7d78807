from __future__ import annotations

import json
import random
import string
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.options.prompt_options import (
    PromptFileError,
    box_flag,
    collect_prompts,
    point_flag,
    read_objects,
    read_prompts_file,
)
from napari_sam2.masks import encode_rle
from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt

SIZE = (40, 56)
FRAMES = 12


def arguments(**given: object) -> Namespace:
    none = {"point": [], "box": [], "mask": None, "mask_on": "all", "prompts": None}
    return Namespace(**(none | given))


@pytest.mark.parametrize(
    ("text", "key", "point"),
    [
        ("0:1:320,240", (0, 1), PointPrompt(320, 240, True)),
        ("12:3:1.5,2.25:+", (12, 3), PointPrompt(1.5, 2.25, True)),
        ("7:65535:0,0:-", (7, 65535), PointPrompt(0, 0, False)),
        (" 1 : 2 :3 , 4:-", (1, 2), PointPrompt(3, 4, False)),
        ("0:1:-0.5,1e1", (0, 1), PointPrompt(-0.5, 10, True)),
    ],
)
def test_points(text: str, key: tuple[int, int], point: PointPrompt) -> None:
    assert point_flag(text) == (key, point)


def test_boxes() -> None:
    assert box_flag("3:2:1,2,30,40.5") == ((3, 2), BoxPrompt(1, 2, 30, 40.5))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "0:1",
        "0:1:2",
        "0:1:2,3,4",
        "0:1:2,x",
        "0:1:2,3:*",
        "0:1:2,3:+:",
        "a:1:2,3",
        "0:0:2,3",
        "-1:1:2,3",
        "0:70000:2,3",
        "0:1:nan,3",
        "0:1:inf,3",
        "0.5:1:2,3",
    ],
)
def test_wrong_points_show_what_was_typed_and_how_it_is_written(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        point_flag(text)
    assert repr(text) in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["0:1:2,3", "0:1:2,3,4,5:+", "0:1:2,3,4,five", "", "::", "0:1:1,1,1,nan"])
def test_wrong_boxes(text: str) -> None:
    with pytest.raises(UsageError):
        box_flag(text)


def test_parts_about_one_object_are_joined_in_order(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    entry = {"frame": 0, "object_id": 1, "points": [[1, 1]], "labels": [0]}
    file.write_text(json.dumps([entry]), encoding="utf-8")
    args = arguments(prompts=file, point=["0:1:5,5", "0:1:6,6:-", "3:2:9,9"], box=["0:1:0,0,20,20"])
    prompts = collect_prompts(args, FRAMES, SIZE)
    points = (PointPrompt(1, 1, False), PointPrompt(5, 5), PointPrompt(6, 6, False))
    assert prompts == {
        (0, 1): Prompt(points, BoxPrompt(0, 0, 20, 20)),
        (3, 2): Prompt((PointPrompt(9, 9),)),
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "say what to track"),
        ({"point": ["12:1:5,5"]}, "frames go from 0 to 11"),
        ({"point": ["0:1:56,5"]}, "outside the image"),
        ({"box": ["0:1:20,20,10,30"]}, "no area"),
    ],
)
def test_prompts_are_checked_against_the_frames(given: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        collect_prompts(arguments(**given), FRAMES, SIZE)


def test_masks_from_a_single_frame_and_from_a_stack(tmp_path: Path) -> None:
    labels = np.zeros((FRAMES, *SIZE), np.uint8)
    labels[2, 5:9, 5:9] = 1
    labels[3, 5:9, 5:9] = 1
    labels[4, 20:25, 5:9] = 6
    tifffile.imwrite(tmp_path / "stack.tif", labels)
    tifffile.imwrite(tmp_path / "one.tif", labels[2])
    every = collect_prompts(arguments(mask=tmp_path / "stack.tif"), FRAMES, SIZE, 7)
    assert list(every) == [(2, 1), (3, 1), (4, 6)]
    assert every[4, 6] == Prompt(mask=MaskPrompt.from_array(labels[4] == 6))
    first = collect_prompts(arguments(mask=tmp_path / "stack.tif", mask_on="first"), FRAMES, SIZE, 7)
    assert list(first) == [(2, 1), (4, 6)]
    assert list(collect_prompts(arguments(mask=tmp_path / "one.tif"), FRAMES, SIZE, 7)) == [(7, 1)]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((40, 56), np.uint8), "black"),
        (np.ones((41, 56), np.uint8), "resize the masks"),
        (np.ones((13, 40, 56), np.uint8), "only 12"),
    ],
)
def test_masks_that_do_not_belong_to_the_frames(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", labels)
    with pytest.raises(CommandError, match=message):
        collect_prompts(arguments(mask=tmp_path / "a.tif"), FRAMES, SIZE)


ENTRY = {"frame": 1, "object_id": 2, "points": [[3, 4], [5, 6]], "labels": [1, 0], "box": [0, 0, 20, 20]}
PROMPT = Prompt((PointPrompt(3, 4), PointPrompt(5, 6, False)), BoxPrompt(0, 0, 20, 20))


@pytest.mark.parametrize(
    "data",
    [
        [ENTRY],
        {"prompts": [ENTRY]},
        {"prompts": [{"frame": 1, "object_id": 2, "prompt": PROMPT.to_json()}]},
        [
            {"frame": 1, "object_id": 2, "points": [[3, 4]]},
            {"frame": 1, "object_id": 2, "points": [[5, 6]], "labels": [0], "box": [0, 0, 20, 20]},
        ],
    ],
)
def test_all_forms_of_prompt_files(tmp_path: Path, data: object) -> None:
    file = tmp_path / "p.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    assert read_prompts_file(file, FRAMES, SIZE) == {(1, 2): PROMPT}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("3", "no list of prompts"),
        ("{}", "no list of prompts"),
        ("[1]", "entry 1"),
        ('[{"frame": 0}]', "entry 1"),
        ('[{"frame": 99, "object_id": 1, "points": [[1, 1]]}]', "frames go from 0 to 11"),
        ('[{"frame": 1e999, "object_id": 1, "points": [[1, 1]]}]', "entry 1"),
        ('[{"frame": 0, "object_id": 0, "points": [[1, 1]]}]', "1 to 65535"),
        ('[{"frame": 0, "object_id": 1}]', "empty"),
        ('[{"frame": 0, "object_id": 1, "points": [[1, NaN]]}]', "not finite"),
        ('[{"frame": 0, "object_id": 1, "pionts": [[1, 1]]}]', "pionts"),
        ('[{"frame": 0, "object_id": 1, "mask": {"size": [90000, 90000], "counts": "0"}}]', "size"),
        ('[{"frame": 0, "object_id": 1, "mask": {"size": [40, 56], "counts": "zzzz"}}]', "damaged"),
    ],
)
def test_wrong_prompt_files_name_file_and_entry(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "p.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PromptFileError, match=message) as caught:
        read_prompts_file(file, FRAMES, SIZE)
    assert str(file) in str(caught.value)


def test_binary_and_missing_prompt_files(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(bytes(range(256)))
    for name in ("b.json", "missing.json", "."):
        with pytest.raises(PromptFileError):
            read_prompts_file(tmp_path / name, FRAMES, SIZE)


def test_names_and_colours_of_objects(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    objects = [{"id": 3, "name": "mother", "color": "#102030"}]
    file.write_text(json.dumps({"prompts": [], "objects": objects}), encoding="utf-8")
    assert read_objects(file)[3].rgb == (16, 32, 48)
    file.write_text(json.dumps({"prompts": [], "objects": [{"id": "x"}]}), encoding="utf-8")
    with pytest.raises(PromptFileError, match="objects"):
        read_objects(file)


# Fuzzing -------------------------------------------------------------------------------------------------


def odd_value(rng: random.Random, depth: int = 0) -> object:
    """Anything that JSON can hold, the nasty things often."""
    simple = [
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**63,
        10**30,
        -0.0,
        0.5,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "1",
        "abc",
        "\x00",
        "\ud800",
        "ü" * 50,
        [],
        {},
        [[]],
        [[1, 2]],
        [[1, 2, 3]],
        [[None, 1]],
        [1, 2, 3, 4],
        [0, 0, 5, 5],
        [5, 5, 0, 0],
    ]
    if depth < 2 and rng.random() < 0.2:
        keys = ("size", "counts", "points", "labels", "box", "mask", "prompt", "frame", "x")
        return {rng.choice(keys): odd_value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return rng.choice(simple)


DIAGONAL = encode_rle(np.eye(*SIZE, dtype=bool)).counts


def odd_entry(rng: random.Random) -> object:
    entry: dict[str, object] = {
        "frame": rng.randrange(FRAMES),
        "object_id": rng.randrange(1, 9),
        "points": [[rng.uniform(0, 50), rng.uniform(0, 39)] for _ in range(rng.randrange(3))],
        "box": [1, 2, 30, 35],
        "mask": {"size": list(SIZE), "counts": DIAGONAL},
    }
    entry["labels"] = [1] * len(entry["points"])
    for _ in range(rng.randrange(4)):
        key = rng.choice([*entry, "prompt", "extra"])
        if rng.random() < 0.3:
            entry.pop(key, None)
        else:
            entry[key] = odd_value(rng)
    if isinstance(entry.get("mask"), dict) and rng.random() < 0.4:
        counts = list(DIAGONAL)
        for _ in range(rng.randrange(1, 6)):
            counts[rng.randrange(len(counts))] = rng.choice(string.printable)
        entry["mask"] = {
            "size": odd_value(rng) if rng.random() < 0.3 else list(SIZE),
            "counts": "".join(counts),
        }
    return entry if rng.random() < 0.95 else odd_value(rng)


def test_ten_thousand_odd_prompt_files(tmp_path: Path) -> None:
    """Prompts that fit the frames come out, or one PromptFileError; nothing else, and nothing takes long."""
    rng = random.Random(4)
    file = tmp_path / "p.json"
    good = refused = 0
    for case in range(10_000):
        data: object = {"prompts": [odd_entry(rng) for _ in range(rng.randrange(3))]}
        text = json.dumps(data if rng.random() < 0.97 else odd_value(rng)).encode("utf-8", "surrogatepass")
        if case % 5 == 0 and text:  # and damaged bytes
            damaged = bytearray(text)
            for _ in range(rng.randrange(1, 5)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            text = bytes(damaged[: rng.randrange(len(damaged)) if rng.random() < 0.3 else None])
        file.write_bytes(text)
        try:
            prompts = read_prompts_file(file, FRAMES, SIZE)
        except PromptFileError as error:
            refused += 1
            assert str(file) in str(error)
            assert len(str(error)) < 2000
            continue
        good += 1
        for (frame, object_id), prompt in prompts.items():
            assert 0 <= frame < FRAMES
            assert 1 <= object_id <= 65535
            prompt.check(SIZE)
    assert good > 500
    assert refused > 3000


def test_thousands_of_odd_flags() -> None:
    rng = random.Random(5)
    alphabet = "0123456789:,.-+ eEnaif\x00ü"
    good = 0
    for _ in range(20_000):
        text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(16)))
        if rng.random() < 0.5:
            characters = list("0:1:12,34:+")
            characters[rng.randrange(len(characters))] = rng.choice(alphabet)
            text = "".join(characters)
        for read in (point_flag, box_flag):
            try:
                read(text)
                good += 1
            except UsageError as error:
                assert str(error).startswith(f"--{read.__name__.removesuffix('_flag')} {text!r}: ")
    assert good > 100
