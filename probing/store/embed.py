"""`probing embed`: all layers of any encoder for the sentences of a file, without a probe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from probing import config
from probing.data.readers.files import read_text
from probing.data.readers.formats import is_row, read_senteval
from probing.encoders import load
from probing.encoders.base import Encoder
from probing.errors import ConfigError, DataError, did_you_mean
from probing.log import human_bytes, info
from probing.store.columns import Sentences, layers_of, to_parquet
from probing.store.vectors import Store

FORMATS = ("parquet",)


def embed(file: Path, encoder: Encoder, store: Store, out: Path, *, layers: str = "all", pooling: str = "mean", to: str) -> None:
    """Write the vectors of the sentences of `file` to `out`, in the order of the file; the store keeps what is computed.

    Raises:
        ConfigError: an unknown format, layer or pooling.
        DataError: the file cannot be read, or holds no sentence, or an empty line between two.
        ProbingError: see `Store.vectors`.
    """
    if to not in FORMATS:
        raise ConfigError(f"--to {to} is unknown{did_you_mean(to, FORMATS)} (allowed: {', '.join(FORMATS)})")
    chosen, out = layers_of(layers), out.expanduser()
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder: name the file, such as {out / file.stem}.parquet")
    sentences = sentences_of(file.expanduser())
    to_parquet(store, encoder, sentences, out, chosen, pooling)
    info(f"{out}: {len(sentences.texts)} sentences of {encoder.name}, {pooling}, {human_bytes(out.stat().st_size)}")


def sentences_of(path: Path) -> Sentences:
    """The sentences of a file: one a line, or a task file of three columns with its splits and labels.

    Raises:
        DataError: see `embed`.
    """
    lines = read_text(path).rstrip("\n").split("\n")
    if is_row(lines[0]):
        rows = list(read_senteval(path))
        return Sentences(*(tuple(column) for column in zip(*((r.sentence, r.split or "", r.label) for r in rows), strict=True)))
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            where = f"{path}, line {number}" if len(lines) > 1 else str(path)
            raise DataError(f"{where}: empty; each line is one sentence, and row i of the output is line i")
    return Sentences(tuple(lines))


def encoder_of(words: Sequence[str]) -> Encoder:
    """The encoder of encoder=NAME (a preset, a folder or a hub id; default: minilm) with its options encoder.KEY=VALUE.

    Raises:
        ConfigError: no such preset or option, a word that is not KEY=VALUE.
    """
    name, options = "minilm", dict[str, Any]()
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is not KEY=VALUE (such as encoder=bert or encoder.max_length=64)")
        if key == "encoder":
            name = value
        else:
            options[key.removeprefix("encoder.")] = yaml.safe_load(value)
    if name not in config.names("encoder") and ("/" in name or Path(name).is_dir()):
        name, options = "hf", {"name": name, **options}
    return load(name, **options)
