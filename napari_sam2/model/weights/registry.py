"""The models that can be asked for by name, and where their weights are published."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

Size = Literal["tiny", "small", "base_plus", "large"]

# The embedded model: part of this package, so it is not among the released ones below.
NANO_FILE = Path(__file__).parent / "nano.safetensors"


@dataclass(frozen=True)
class ReleasedModel:
    """One published checkpoint.

    Parameters
    ----------
    name : str
        The name to ask for, for example ``"tiny"`` or ``"tiny-2.0"``.
    size : str
        Name of the network's preset.
    version : {"2.0", "2.1"}
        Release of SAM 2.
    repository : str
        Repository on the Hugging Face hub. It holds Meta's ``.pt`` and, in transformers' layout, a
        ``model.safetensors``, which is preferred.
    pickle_file : str
        Name of Meta's ``.pt``.
    megabytes : int
        Size of the download, rounded.
    revision : str
        The commit that is downloaded; ``"main"`` where we know none.
    sha256 : mapping of str to str
        Known checksums by file name. Files without one are checked against the checksum the hub gives.
    """

    name: str
    size: Size
    version: Literal["2.0", "2.1"]
    repository: str
    pickle_file: str
    megabytes: int
    revision: str
    sha256: dict[str, str]


_TINY = ReleasedModel(
    "tiny",
    "tiny",
    "2.1",
    "facebook/sam2.1-hiera-tiny",
    "sam2.1_hiera_tiny.pt",
    156,
    "de431c4043854a71d8101e17995dfe596bf101a5",
    {"sam2.1_hiera_tiny.pt": "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"},
)
_SMALL = ReleasedModel(
    "small",
    "small",
    "2.1",
    "facebook/sam2.1-hiera-small",
    "sam2.1_hiera_small.pt",
    184,
    "ee5bba1d82bb8749febdf90f45e84b687142ba03",
    {
        "sam2.1_hiera_small.pt": "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
        "model.safetensors": "0a4067b11ce1e23d5229203f11c718a823060d15a4b23fa2372a7d4b77cbbc60",
    },
)
_BASE_PLUS = ReleasedModel(
    "base_plus",
    "base_plus",
    "2.1",
    "facebook/sam2.1-hiera-base-plus",
    "sam2.1_hiera_base_plus.pt",
    323,
    "main",
    {"sam2.1_hiera_base_plus.pt": "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"},
)
_LARGE = ReleasedModel(
    "large",
    "large",
    "2.1",
    "facebook/sam2.1-hiera-large",
    "sam2.1_hiera_large.pt",
    898,
    "main",
    {"sam2.1_hiera_large.pt": "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"},
)


def _release_2_0(size: Size, in_repository: str, megabytes: int) -> ReleasedModel:
    return ReleasedModel(
        f"{size}-2.0",
        size,
        "2.0",
        f"facebook/sam2-hiera-{in_repository}",
        f"sam2_hiera_{size}.pt",
        megabytes,
        "main",
        {},
    )


RELEASED: dict[str, ReleasedModel] = {
    model.name: model
    for model in (
        _TINY,
        _SMALL,
        _BASE_PLUS,
        _LARGE,
        _release_2_0("tiny", "tiny", 156),
        _release_2_0("small", "small", 184),
        _release_2_0("base_plus", "base-plus", 323),
        _release_2_0("large", "large", 898),
    )
}


@dataclass(frozen=True)
class PublishedSam1:
    """A published Segment Anything 1 file.

    Parameters
    ----------
    name : str
        The name to ask for.
    url : str
        Where the file is.
    megabytes : int
        Its size, rounded; of micro-sam's files that of the network, which the decoder is not part of.
    licence : str
        Of the weights, as their authors give it.
    repository : str, optional
        The same weights on the Hugging Face hub, from where they are downloaded.
    sha256 : str, optional
        Checksum of the file at ``url``, where it is known.
    """

    name: str
    url: str
    megabytes: int
    licence: str
    repository: str | None = None
    sha256: str | None = None


_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_MEGABYTES = {"vit_t": 40, "vit_b": 375, "vit_l": 1249, "vit_h": 2564}
_ZOO = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io/"


def _micro_sam(name: str, entry: str) -> PublishedSam1:
    size, licence = _MEGABYTES[name[:5]], "licence: see bioimage.io"
    return PublishedSam1(name, f"{_ZOO}{entry}/files/{name[:5]}.pt", size, licence)


PUBLISHED_SAM1 = MappingProxyType(
    {
        model.name: model
        for model in (
            *(
                PublishedSam1(name, _META + file, _MEGABYTES[name], "Apache-2.0", repository, sha256)
                for name, file, repository, sha256 in (
                    (
                        "vit_b",
                        "sam_vit_b_01ec64.pth",
                        "facebook/sam-vit-base",
                        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
                    ),
                    (
                        "vit_l",
                        "sam_vit_l_0b3195.pth",
                        "facebook/sam-vit-large",
                        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
                    ),
                    (
                        "vit_h",
                        "sam_vit_h_4b8939.pth",
                        "facebook/sam-vit-huge",
                        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
                    ),
                )
            ),
            PublishedSam1(
                "vit_t",
                "https://github.com/ChaoningZhang/MobileSAM/blob/master/weights/mobile_sam.pt",
                40,
                "Apache-2.0",
                sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            ),
            _micro_sam("vit_t_lm", "faithful-chicken/1.1"),
            _micro_sam("vit_b_lm", "diplomatic-bug/1.2"),
            _micro_sam("vit_l_lm", "idealistic-rat/1.2"),
            _micro_sam("vit_t_em_organelles", "greedy-whale/1"),
            _micro_sam("vit_b_em_organelles", "noisy-ox/1.2"),
            _micro_sam("vit_l_em_organelles", "humorous-crab/1.2"),
        )
    }
)


def micro_sam_cache() -> Path:
    """Return the folder in which micro-sam keeps its models on this machine."""
    folder = os.environ.get("MICROSAM_CACHEDIR")
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder or Path(caches) / "micro_sam") / "models"
