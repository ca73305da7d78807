"""Weights by name, file and repository; and what is said when they are not right."""

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.device import choose_device, fast_float32, half_precision
from napari_sam2.model.errors import CheckpointError
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.weights import download
from napari_sam2.model.weights.checkpoints import (
    _network_config,
    choose_dtype,
    load_model,
    read_checkpoint,
    recognise,
)
from napari_sam2.model.weights.key_mapping import from_meta, to_meta
from napari_sam2.model.weights.registry import RELEASED
from tests.golden.recipe import SMALL, recipe_state
from tests.golden.tiny_network import TINY as TINY_NETWORK
from tests.model.weights.test_meta_yaml import tree as reference_tree
from tests.model.weights.test_meta_yaml import write as written


@pytest.fixture
def state():
    return recipe_state(Sam2(ModelConfig.preset("nano")))


def test_metas_pickle_and_safetensors_load_the_same(tmp_path, state):
    torch.save({"model": state}, tmp_path / "nano.pt")
    save_file(state, tmp_path / "nano.safetensors")
    first, second = load_model(tmp_path / "nano.pt"), load_model(tmp_path / "nano.safetensors")
    assert first.config == second.config == ModelConfig.preset("nano")
    for (name, a), (_, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert first.origin.name == str(tmp_path / "nano.pt")
    assert len(first.origin.sha256) == 64
    assert not first.training
    assert not any(p.requires_grad for p in first.parameters())


def test_a_size_of_its_own_comes_with_its_configuration(tmp_path):
    state = to_meta(Sam2(TINY_NETWORK).state_dict())
    save_file(state, tmp_path / "own.safetensors", metadata={"config": json.dumps(TINY_NETWORK.to_dict())})
    assert load_model(tmp_path / "own.safetensors").config == TINY_NETWORK
    torch.save(state, tmp_path / "own.pt")
    with pytest.raises(CheckpointError, match="give its configuration too"):
        load_model(tmp_path / "own.pt")
    assert load_model(tmp_path / "own.pt", config=TINY_NETWORK).config == TINY_NETWORK


@pytest.mark.parametrize("version", ["2.0", "2.1"])
@pytest.mark.parametrize("size", ["tiny", "small", "base_plus", "large"])
def test_size_and_release_are_recognised_from_the_keys(size, version):
    with torch.device("meta"):
        state = Sam2(ModelConfig.preset(size, version)).state_dict()
    assert recognise(state) == (size, version)


def test_code_in_a_pickle_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "it ran",)

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="could run code"):
        load_model(tmp_path / "evil.pt")
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_named(tmp_path, suffix, kept):
    state = to_meta(Sam2(TINY_NETWORK).state_dict())
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".pt":
        torch.save({"model": state}, whole)
    else:
        save_file(state, whole)
    content = whole.read_bytes()
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointError, match=f"broken{suffix} is .*truncated"):
        load_model(broken, config=TINY_NETWORK)


def test_foreign_files_are_named(tmp_path):
    text = tmp_path / "notes.pt"
    text.write_text("these are not weights")
    with pytest.raises(CheckpointError, match=r"notes.pt is truncated or not a weight file"):
        load_model(text)
    save_file({"layer.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(
        CheckpointError, match=r"does not look like a SAM 2 model \(1 weights, the first is 'layer.weight'"
    ):
        load_model(tmp_path / "other.safetensors")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        load_model(tmp_path / "list.pt")


def test_what_does_not_fit_is_listed(tmp_path, state):
    del state["no_obj_ptr"]
    state["no_mem_embed"] = torch.zeros(1, 1, 128)
    state["something.else"] = torch.zeros(1)
    state["mask_downsample.bias"] = torch.zeros(7)
    torch.save({"model": state}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path / "odd.pt")
    message = str(caught.value)
    assert "1 weights are missing (first: no_obj_ptr)" in message
    assert "1 are unexpected (first: something.else)" in message
    assert "mask_downsample.bias is (7,), needs (1,)" in message
    assert "looks like 'nano' of SAM 2.1" in message


def test_no_such_file_or_name(tmp_path):
    with pytest.raises(CheckpointError, match="no weight file.*nano, tiny, small"):
        load_model(tmp_path / "missing.pt")
    with pytest.raises(CheckpointError, match="no model of that name"):
        load_model("gigantic")


def test_without_a_network_the_error_says_what_to_fetch_and_from_where(monkeypatch):
    def no_network(*args, **kwargs):
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(download, "hf_hub_download", no_network)
    monkeypatch.setattr(download, "try_to_load_from_cache", lambda *a, **k: None)
    with pytest.raises(CheckpointError) as caught:
        load_model("large")
    for words in (
        "sam2.1_hiera_large.pt (898 MB)",
        "https://huggingface.co/facebook/sam2.1-hiera-large",
        "give its path",
    ):
        assert words in str(caught.value)


class Hub:
    """A hub with one repository, as huggingface_hub shows it."""

    def __init__(self, folder, files):
        self.folder, self.files, self.asked = folder, files, []

    def download(self, repository, file, revision=None, tqdm_class=None):
        self.asked.append((repository, file, revision))
        if file not in self.files:
            raise huggingface_hub.errors.EntryNotFoundError(file)
        if tqdm_class is not None:
            with tqdm_class(total=100, desc=file) as bar:
                bar.update(40)
                bar.update(60)
        return str(self.folder / file)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with torch.device("meta"):
        shapes = to_meta(Sam2(ModelConfig.preset("tiny")).state_dict())
    state = {name: torch.zeros(value.shape) for name, value in shapes.items()}
    hub = Hub(tmp_path, {"sam2.1_hiera_tiny.pt"})
    torch.save({"model": state}, tmp_path / "sam2.1_hiera_tiny.pt")
    monkeypatch.setattr(download, "hf_hub_download", hub.download)
    monkeypatch.setattr(download, "try_to_load_from_cache", lambda *a, **k: None)
    monkeypatch.setattr(download, "_published_sha256", lambda *a: None)
    return hub


def test_a_file_that_is_not_the_published_one_is_refused(hub):
    with pytest.raises(CheckpointError, match="not the published file"):
        load_model("tiny")


def test_download_prefers_safetensors_pins_the_revision_and_reports(hub, monkeypatch):
    monkeypatch.setitem(
        RELEASED["tiny"].sha256,
        "sam2.1_hiera_tiny.pt",
        download.file_sha256(hub.folder / "sam2.1_hiera_tiny.pt"),
    )
    seen = []
    model = load_model("tiny", progress=lambda done, total: seen.append((done, total)))
    assert model.config == ModelConfig.preset("tiny")
    pinned = RELEASED["tiny"].revision
    assert hub.asked == [
        ("facebook/sam2.1-hiera-tiny", "model.safetensors", pinned),
        ("facebook/sam2.1-hiera-tiny", "sam2.1_hiera_tiny.pt", pinned),
    ]
    assert seen == [(40, 100), (100, 100)]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_a_download_can_be_stopped(hub, kind):
    def stop(done, total):
        raise kind("stopped")

    with pytest.raises(kind, match="stopped"):
        load_model("tiny", progress=stop)


class ClientError(Exception):
    """Of an HTTP library that the hub's client uses: no OSError, and none of the hub's own."""


@pytest.mark.parametrize("name", ["tiny", "facebook/sam2-hiera-large", "somebody/model"])
def test_whatever_a_network_raises_becomes_advice(name, monkeypatch):
    def broken(*args, **kwargs):
        raise ClientError("connection refused")

    monkeypatch.setattr(download, "hf_hub_download", broken)
    monkeypatch.setattr(download, "list_repo_files", broken)
    monkeypatch.setattr(download, "snapshot_download", broken)
    monkeypatch.setattr(download, "try_to_load_from_cache", lambda *a, **k: None)
    with pytest.raises(CheckpointError, match=r"\(ClientError: connection refused\)"):
        load_model(name)


def test_a_repository_that_is_in_the_cache_needs_no_network(hub, monkeypatch):
    def broken(*args, **kwargs):
        raise ClientError("connection refused")

    def cached(repository, local_files_only=False):
        assert local_files_only
        return str(hub.folder)

    monkeypatch.setattr(download, "list_repo_files", broken)
    monkeypatch.setattr(download, "snapshot_download", cached)
    assert load_model("somebody/finetuned").config == ModelConfig.preset("tiny")
    assert hub.asked == [("somebody/finetuned", "sam2.1_hiera_tiny.pt", "main")]


def test_a_cached_file_is_checked_too(hub, monkeypatch):
    monkeypatch.setattr(download, "cached_file", lambda model: hub.folder / model.pickle_file)
    with pytest.raises(CheckpointError, match="not the published file"):
        load_model("tiny")
    assert hub.asked == []


def test_the_wrong_size_under_a_name_is_refused(hub, monkeypatch):
    monkeypatch.setattr(download, "_check_sha256", lambda *a: None)
    monkeypatch.setattr(hub, "files", {"sam2.1_hiera_small.pt"})
    (hub.folder / "sam2.1_hiera_tiny.pt").rename(hub.folder / "sam2.1_hiera_small.pt")
    with pytest.raises(CheckpointError, match="is a tiny of SAM 2.1, but 'small' was asked for"):
        load_model("small")


def test_a_repository_with_several_files_asks_which(monkeypatch):
    monkeypatch.setattr(download, "list_repo_files", lambda repo: ["a.pt", "b.pt", "README.md"])
    with pytest.raises(CheckpointError, match=r"holds 2 weight files \(a.pt, b.pt\)"):
        load_model("somebody/models")


@pytest.mark.parametrize(
    "file", ["../../../x.safetensors", "/etc/x.pt", "a/../../x.pt", "..\\x.pt", "x\x1b.pt"]
)
def test_a_file_of_a_repository_cannot_leave_its_folder(monkeypatch, file):
    monkeypatch.setattr(download, "list_repo_files", lambda repo: [file, "README.md"])
    monkeypatch.setattr(download, "hf_hub_download", lambda *a, **k: pytest.fail("it was downloaded"))
    with pytest.raises(
        CheckpointError, match="is no name of a repository or of a file in one: nothing is downloaded"
    ):
        load_model("somebody/models")


@pytest.mark.parametrize("name", ["nobody/..", "..\\x/y", "no\x1bbody/models"])
def test_the_name_of_a_repository_cannot_leave_the_cache(monkeypatch, name):
    monkeypatch.setattr(download, "list_repo_files", lambda repo: pytest.fail("it was looked up"))
    with pytest.raises(CheckpointError, match="is no name of a repository"):
        load_model(name)


def test_recipe_weights_round_trip_through_float16(tmp_path):
    state = recipe_state(Sam2(SMALL))
    save_file(
        {k: v.half() for k, v in state.items()},
        tmp_path / "half.safetensors",
        metadata={"config": json.dumps(SMALL.to_dict())},
    )
    read, config = read_checkpoint(tmp_path / "half.safetensors")
    model = load_model(tmp_path / "half.safetensors")
    assert config == SMALL
    assert all(torch.equal(value.float(), model.state_dict()[key]) for key, value in read.items())
    assert all(torch.equal(value, state[key]) for key, value in to_meta(model.state_dict()).items())


def test_devices_and_types_can_be_chosen(tmp_path, state):
    save_file(state, tmp_path / "n.safetensors")
    assert (
        load_model(tmp_path / "n.safetensors", device="cpu", dtype="bfloat16").compute_dtype == torch.bfloat16
    )
    with pytest.raises(ValueError, match="unknown dtype 'int8'"):
        load_model(tmp_path / "n.safetensors", dtype="int8")
    with pytest.raises(ValueError, match="unknown device 'tpu9'"):
        choose_device("tpu9")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no device 'cuda'"):
            choose_device("cuda")


@pytest.mark.parametrize(
    ("generation", "half", "automatic"),
    [((7, 5), torch.float16, torch.float32), ((9, 0), torch.bfloat16, torch.bfloat16)],
)
def test_bfloat16_is_chosen_only_where_it_is_not_emulated(generation, half, automatic, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: generation)
    cuda = torch.device("cuda")
    assert half_precision(cuda) == half
    assert choose_dtype("auto", cuda) == automatic
    assert half_precision(torch.device("cpu")) == torch.bfloat16
    assert half_precision(torch.device("mps")) == torch.float16
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    assert choose_dtype("float16", torch.device("cpu")) == torch.float16


def test_the_global_matmul_setting_is_put_back():
    before = torch.get_float32_matmul_precision()
    with pytest.raises(ZeroDivisionError), fast_float32(torch.device("cpu")):
        1 / 0  # noqa: B018
    assert torch.get_float32_matmul_precision() == before


def test_fast_float32_stays_float32():
    a, b = torch.randn(300, 300), torch.randn(300, 300)
    with fast_float32(torch.device("cpu")):
        fast = a @ b
    exact = a.double() @ b.double()
    assert float((fast - exact).abs().max()) < 1e-3  # bfloat16 would be off by about 0.3


@pytest.mark.parametrize("wrapper", [None, "model", "model_state", "model_state_dict", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_found_where_training_code_puts_them(tmp_path, wrapper, prefix):
    state = to_meta(Sam2(TINY_NETWORK).state_dict())
    renamed = {prefix + key: value for key, value in state.items()}
    torch.save(renamed if wrapper is None else {wrapper: renamed, "epoch": 3}, tmp_path / "own.pt")
    loaded = to_meta(load_model(tmp_path / "own.pt", config=TINY_NETWORK).state_dict())
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda v: torch.full_like(v, float("nan")), "no_mem_embed has values that are NaN or infinite"),
        (lambda v: v.half() + float("inf"), "no_mem_embed has values that are NaN or infinite"),
        (lambda v: v.to(torch.int8), "no_mem_embed is int8, not floating point, as in a quantised file"),
        (lambda v: v.bool(), "no_mem_embed is bool, not floating point"),
        (lambda v: v.to(torch.complex64), "no_mem_embed is complex64, not floating point"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(tmp_path, values, message):
    state = to_meta(Sam2(TINY_NETWORK).state_dict())
    state["no_mem_embed"] = values(state["no_mem_embed"])
    torch.save({"model": state}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match=f"bad.pt can't be used: {message}"):
        load_model(tmp_path / "bad.pt", config=TINY_NETWORK)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "can't be used: Expecting property name"),
        ("[" * 100_000, "settings of a network that can't be used"),
        ("[1, 2]", r"are an object of names and values, not \[1, 2\]"),
        ('{"image_size": 1e99}', "image_size is made of whole numbers from 1 to 16384, not 1e\\+99"),
        ('{"image_size": 3200000}', "image_size is made of whole numbers from 1 to 16384, not 3200000"),
        ('{"embed_dim": "256"}', "embed_dim is made of whole numbers from 1 to 65536, not '256'"),
        ('{"memory_dim": 0}', "memory_dim is made of whole numbers from 1 to 65536, not 0"),
        (
            '{"stages": [1, 2, 1000000000, 2]}',
            "stages is made of whole numbers from 0 to 1024, not 1000000000",
        ),
        ('{"stages": 4}', "stages is a list of whole numbers, not 4"),
        ('{"rope_theta": NaN}', "rope_theta is a finite number, not nan"),
        ('{"dynamic_stability": 1}', "dynamic_stability is true or false, not 1"),
        ('{"embed_dim": 65536, "memory_dim": 8}', "does not fit this network"),
    ],
)
def test_absurd_settings_in_a_file_are_refused_before_memory_is_taken(tmp_path, config, message):
    state = to_meta(Sam2(TINY_NETWORK).state_dict())
    save_file(state, tmp_path / "odd.safetensors", metadata={"config": config})
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path / "odd.safetensors")


@pytest.fixture(scope="module")
def tiny_weights():
    """Weights of the shapes of 'tiny', all one number: only their shapes matter here."""
    with torch.device("meta"):
        shapes = Sam2(ModelConfig.preset("tiny")).state_dict()
    return to_meta({key: torch.zeros(()).expand(value.shape) for key, value in shapes.items()})


def configured(tmp_path, state, name, **more):
    (tmp_path / name).write_bytes(b"")
    return _network_config(
        tmp_path / name, from_meta(state), more.pop("given", None), None, str(name), **more
    )


def test_an_input_size_that_nothing_tells_is_assumed_with_a_warning(tmp_path, tiny_weights):
    message = (
        "finetuned.pt does not say at which input size it was trained: 1024 pixels are assumed, as for 'tiny'"
    )
    with pytest.warns(UserWarning, match=message):
        assert configured(tmp_path, tiny_weights, "finetuned.pt", image_size=None) == ModelConfig.preset(
            "tiny"
        )


def test_the_input_size_is_known_from_the_name_or_given(tmp_path, tiny_weights):
    official = configured(tmp_path, tiny_weights, "sam2.1_hiera_tiny.pt", image_size=None)
    assert official.image_size == 1024
    assert configured(tmp_path, tiny_weights, "MedSAM2_latest.pt", image_size=None).image_size == 512
    assert configured(tmp_path, tiny_weights, "finetuned.pt", image_size=768).image_size == 768
    given = configured(
        tmp_path, tiny_weights, "finetuned.pt", given=ModelConfig.preset("tiny"), image_size=256
    )
    assert given.image_size == 256


def test_a_yaml_beside_a_checkpoint_is_its_configuration(tmp_path, tiny_weights):
    written(tmp_path / "finetuned.yaml", {"model": reference_tree() | {"image_size": 512}})
    assert configured(tmp_path, tiny_weights, "finetuned.pt", image_size=None).image_size == 512
    (tmp_path / "other.yaml").write_text("learning_rate: 3")
    with pytest.raises(ValueError, match="other.yaml has no 'model:' tree"):
        configured(tmp_path, tiny_weights, "other.pt", image_size=None)


def test_the_chosen_input_size_is_that_of_the_network(tmp_path):
    state = to_meta(Sam2(TINY_NETWORK).state_dict())
    torch.save({"model": state}, tmp_path / "own.pt")
    model = load_model(tmp_path / "own.pt", config=TINY_NETWORK, image_size=128)
    features = model.encode_image(torch.zeros(1, 3, 128, 128))
    assert (model.image_size, features.stride16.shape[-1]) == (128, 8)
