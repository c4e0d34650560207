"""Study `cells`: which cells of a network follow quotes, lines, brackets or places in a text, and how open its gates are.

The text is read once by the encoder (`probing.neurons.reading`). For each layer that is no gate the best cell of each signal
(`probing.neurons.signals`) is chosen on the first half and valued on the second, beside a null of shifts (`probing.neurons.cells`);
p-values after Holm over all layers and signals. The same search with the signals of the shuffled text must find nothing. Layers
that are gates (`states` of LSTMs and of textgenrnn) give their saturation (`probing.neurons.gates`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probing.data.readers.files import read_text
from probing.encoders.base import fingerprint
from probing.errors import DataError
from probing.log import bar, human_bytes, human_seconds, info
from probing.neurons.cells import search
from probing.neurons.gates import Saturation, gate_of
from probing.neurons.ranking import Scale
from probing.neurons.reading import blocks, by_character
from probing.neurons.signals import signals
from probing.report.cells import write
from probing.studies import Context, layers_of, require
from probing.types import Values

VERSION = 1
"""Raise when the same options would give other rows."""


MOST_BYTES = 4_000_000_000
"""Most bytes of states that are held for the search."""


@dataclass
class CellsStudy:
    """Options.

    Args:
        file: a text in UTF-8, plain or .gz, .xz.
        layers: all, or numbers, negative ones from the last; `layer` where it is not given.
        characters: how many of it are read, from the start; null: all.
        size, skip: the text is read in parts of so many characters, the first of each left out.
        shifts: of the null.
        shown: characters of the second half whose values are kept, for coloured text.
    """

    file: str | None = None
    layers: Any = "all"
    characters: int | None = 200_000
    size: int = 2000
    skip: int = 100
    shifts: int = 4999
    shown: int = 1500

    name = "cells"
    uses = ("encoder",)

    def __post_init__(self) -> None:
        require(self.file is not None, "set study.file=… (a text in UTF-8)")
        require(
            self.characters is None or self.characters >= 1000, f"study.characters={self.characters} must be at least 1000, or null"
        )
        require(0 <= self.skip < self.size, f"study.skip={self.skip} must be from 0 to less than study.size={self.size}")
        require(self.shifts >= 19, f"study.shifts={self.shifts} must be at least 19: p is never below 1 / (1 + shifts)")
        require(self.shown >= 0, f"study.shown={self.shown} must be at least 0")

    def measure(self, context: Context) -> pd.DataFrame:
        encoder, seed = context.encoder, context.seed
        text = read_text(Path(str(self.file)).expanduser()).lstrip("\ufeff")[: self.characters]
        if len(text) < 1000:
            raise DataError(f"study.file={self.file} has {len(text)} characters: too few to search (1,000 at least)")
        digest = hashlib.sha256(text.encode()).hexdigest()
        options = {name: getattr(self, name) for name in ("size", "skip", "shifts", "shown")}
        base = {
            "study": self.name,
            "version": VERSION,
            "encoder": fingerprint(encoder),
            "text": digest,
            "seed": seed,
            "options": options,
        }
        parts = {layer: base | {"layer": layer} for layer in layers_of(self.layers, len(encoder.dims))}
        kept = {k: rows for k, part in parts.items() if not context.force and (rows := context.results.get(part)) is not None}
        if len(kept) < len(parts):
            states, places, gates = self._read(encoder, text, [k for k in parts if k not in kept])
            own = {name: values[places] for name, values in signals(text).items()}
            rng = np.random.default_rng([seed, 26])
            shuffled = {name: values[places] for name, values in signals("".join(rng.permutation(list(text)))).items()}
            unit = "character" if by_character(encoder, text) else "word"
            with bar("layers", len(parts) - len(kept)) as advance:
                for k in parts:
                    if k in kept:
                        continue
                    head = {
                        "encoder": encoder.name,
                        "file": Path(str(self.file)).name,
                        "layer": k,
                        "layer_name": encoder.layer_names[k],
                    }
                    head |= {"places": len(places), "unit": unit}
                    rows = (
                        _gate_rows(gates[k]) if k in gates else self._cell_rows(states.pop(k), own, shuffled, (text, places), seed)
                    )
                    kept[k] = context.results.put(parts[k], [head | row for row in rows])
                    advance(1)
        return pd.DataFrame([row for k in parts for row in kept[k]])

    def report(self, frame: pd.DataFrame, folder: Any) -> None:
        """cells.csv, gates.csv, table.md, figure-gates.svg, and cells.html, the text in the colours of the best cells."""
        write(frame, folder)

    def _read(self, encoder: Any, text: str, layers: list[int]) -> tuple[dict[int, np.ndarray], np.ndarray, dict[int, Saturation]]:
        """States of layers that are no gates, (n, d) each; the places; the saturation of gates."""
        gates = {k: Saturation() for k in layers if gate_of(encoder.layer_names[k])}
        states: dict[int, list[np.ndarray]] = {k: [] for k in layers if k not in gates}
        n = len(text) if by_character(encoder, text) else len(text.split())
        if (need := 4 * n * sum(encoder.dims[k] for k in states)) > MOST_BYTES:
            raise DataError(
                f"the states of {n:,} places need {human_bytes(need)}, more than {human_bytes(MOST_BYTES)}: read less "
                "(study.characters), or an encoder with fewer states"
            )
        places, start, read = [], time.perf_counter(), 0
        with bar(f"characters read by {encoder.name}", len(text)) as advance:
            for number, block in enumerate(blocks(encoder, text, self.size, self.skip)):
                places.append(block.places)
                for k, own in states.items():
                    own.append(block.layers[k])
                for k, gate in gates.items():
                    gate.add(block.layers[k])
                reached = int(block.places[-1]) + 1 if len(block.places) else read
                if number == 0 and 0 < reached < len(text):
                    seconds = (time.perf_counter() - start) * len(text) / reached
                    info(f"{encoder.name} reads {len(text):,} characters, about {human_seconds(seconds)}")
                advance(reached - read)
                read = reached
        return {k: np.concatenate(own) for k, own in states.items()}, np.concatenate(places), gates

    def _cell_rows(
        self,
        states: np.ndarray,
        own: Mapping[str, Values],
        shuffled: Mapping[str, Values],
        place: tuple[str, np.ndarray],
        seed: int,
    ) -> list[dict[str, Any]]:
        scale = Scale.of(states)
        rows: list[dict[str, Any]] = [{"kind": "layer", "cells": states.shape[1], "dead": str(scale.dead)}]
        if not scale.live.any():
            return rows
        text, places = place
        for kind, given in (("cell", own), ("shuffled", shuffled)):
            for match in search(states, given, self.shifts, seed):
                row = {"kind": kind, **match._asdict()}
                if kind == "cell" and self.shown:
                    z = _of_cell(states, scale, match.cell)
                    row["text"] = _shown(text, places, z, self.shown)
                rows.append(row)
        left = sorted(set(own) - {row["signal"] for row in rows if row["kind"] == "cell"})
        rows[0]["constant"] = ", ".join(left)
        return rows


def _of_cell(states: np.ndarray, scale: Scale, cell: int) -> Values:
    """Standardised values of one cell, (n,)."""
    return (states[:, cell].astype(float) - scale.mean[cell]) / scale.sd[cell]


def _shown(text: str, places: np.ndarray, z: Values, n: int) -> str:
    """The first n places of the second half as JSON: pieces of text, each up to its place, and their values."""
    half = len(places) // 2
    chosen = slice(half, half + n)
    starts = np.concatenate([[places[half - 1]], places[chosen][:-1]]) + 1
    near = places[chosen] - starts < 40  # what was left out between two parts is not shown
    pieces = [text[(a if ok else b) : b + 1] for a, b, ok in zip(starts, places[chosen], near, strict=True)]
    return json.dumps([pieces, np.round(z[chosen], 2).tolist()], ensure_ascii=False)


def _gate_rows(gate: Saturation) -> list[dict[str, Any]]:
    return [
        {"kind": "gate", "cell": k, "left": left, "right": right}
        for k, (left, right) in enumerate(zip(gate.left.tolist(), gate.right.tolist(), strict=True))
    ]
