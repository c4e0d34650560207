"""The card of a cell: in about fifteen lines, everything that made one number."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probing.evaluation.metrics import title
from probing.evaluation.rows import scores_of
from probing.log import human_seconds
from probing.report.summary import percent

Card = list[tuple[str, str]]
"""Names and texts, line by line."""

_CHOICES = 12
"""Settings of a probe that are listed, at most; a card is no log."""


def card_of(record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] = (), dated: bool = True) -> Card:
    """The card of a cell's record. Lines that the record has nothing for are left out.

    Args:
        rows: which rows of which runs show the cell (`rows_that_show`).
        dated: with time, duration and machine, which differ between two computations of the same number.
    """
    [row] = record["rows"]
    inputs, details = record["inputs"], record.get("details", {})
    about, data = details.get("encoder", {}), details.get("data", {})
    lines = [("cell", str(record["key"])), ("number", _number(record)), ("task", _task(row, data)), ("data", _data(data))]
    lines += [("labels", _labels(inputs, data)), ("encoder", _encoder(row, inputs, about)), ("weights", about.get("origin", ""))]
    lines += [("place", _place(row, inputs)), ("probe", _settings(inputs.get("probe"), row.get("probe", "")))]
    lines += [
        (
            "tried",
            _tried(
                details.get("tried", ()),
                "accuracy" if data.get("kind", "classification") == "classification" else "R²" if "numbers" in data else "F1",
            ),
        ),
        ("chosen", _chosen(record)),
    ]
    lines += [("seeds", _seeds(inputs, row)), ("versions", ", ".join(f"{k} {v}" for k, v in details.get("versions", {}).items()))]
    if dated:
        seconds = details.get("seconds", 0.0)
        took = f" in {f'{seconds:.2g} s' if seconds < 10 else human_seconds(seconds)}" if seconds else ""
        processor = details.get("processor", {})
        on = f" on {processor.get('name')}, {processor.get('threads')} threads" if processor else ""
        lines += [("made", f"{details.get('made', '')}{took}{on}")]
    shown = [f"{one['run']} ({one['role']}, {one['task']}, {one['encoder']})" for one in rows]
    lines += [("shown in", "; ".join(shown[:3]) + (f" and {len(shown) - 3} more" if shown[3:] else ""))]
    return [(name, text) for name, text in lines if text]


def text_of(card: Card) -> str:
    """The card for a terminal."""
    return "\n".join(f"{name:9} {text}" for name, text in card)


def _number(record: Mapping[str, Any]) -> str:
    if record["status"] != "done":
        return f"{record['status']}: {' '.join(str(record.get('error', '')).split())}"
    parts = []
    for name, score in scores_of(record)["scores"].items():
        scale, unit = (percent, " %") if set(name.split("_")) & {"accuracy", "f1"} else ("{:.4g}".format, "")
        interval = "" if score.lower != score.lower else f" ({scale(score.lower)}–{scale(score.upper)})"
        parts.append(f"{'dev ' * name.startswith('dev_')}{title(name.removeprefix('dev_'))} {scale(score.value)}{unit}{interval}")
    return ", ".join(sorted(parts, key=lambda text: text.startswith("dev")))


def _task(row: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    name = row.get("task") or data.get("task", "")
    title = f" ({row['paper_name']})" if row.get("paper_name") else ""
    sizes = "/".join(str(n) for n in data.get("n", {}).values())
    classes = row.get("majority") and "numbers" not in data and data.get("kind", "classification") == "classification"
    largest = f", largest class of test {percent(row['majority'])} %" if classes else ""
    of = f": {sizes} {data.get('unit', 'sentences')} (train/dev/test), {data.get('n_classes') or 'no'} classes{largest}"
    return f"{name}{title}{of * bool(sizes)}"


def _data(data: Mapping[str, Any]) -> str:
    notes = "; ".join(data.get("notes", ()))
    parts = [Path(data["source"]).name] if data.get("source") else []
    return ", ".join([*parts, *([f"sha256 {data['sha256'][:16]}"] if data.get("sha256") else []), *([notes] if notes else [])])


def _labels(inputs: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    if not inputs.get("control"):
        return "the task's own"
    by_word = "one for each word type" if "unit" in data else "decided by a word of the sentence"
    kinds = {"permuted": "shuffled within each split", "word": f"random, {by_word}"}
    return f"control {inputs['control']}, {kinds.get(inputs['control'], 'of a control task')}; seed {inputs.get('control_seed')}"


def _encoder(row: Mapping[str, Any], inputs: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    for reader in ("floor", "ceiling"):
        if reader in inputs:
            return f"none: {inputs[reader]} reads the text ({reader})"
    mark = row.get("encoder_fingerprint") or (inputs["encoder"] if isinstance(inputs.get("encoder"), str) else "")
    return ", ".join(filter(None, [about.get("name") or row.get("encoder", ""), f"fingerprint {mark[:16]}" if mark else ""]))


def _place(row: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    if inputs.get("layer") is None:
        return ""
    name = f" ({row['layer_name']})" if row.get("layer_name") else ""
    stored = f", vectors stored in {inputs['store_dtype']}" if "store_dtype" in inputs else ""
    return f"layer {inputs['layer']}{name}, {inputs.get('pooling', '')} pooling{stored}"


def _settings(settings: Any, name: str) -> str:
    if not isinstance(settings, Mapping):
        return name
    return f"{name}: " * bool(name) + ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in settings.items())


def _tried(tried: Sequence[Mapping[str, Any]], score: str) -> str:
    texts = []
    for one in tried:
        chosen = {name: value for name, value in one.items() if name not in ("dev_accuracy", "converged", "exact")}
        setting = " ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in chosen.items())
        texts.append(f"{setting} {percent(one.get('dev_accuracy', float('nan')))}".strip())
    more = f", and {len(texts) - _CHOICES} more" if texts[_CHOICES:] else ""
    return f"{', '.join(texts[:_CHOICES])}{more} (dev {score}, %)" if texts else ""


def _chosen(record: Mapping[str, Any]) -> str:
    facets = scores_of(record)["facets"] if record["status"] == "done" else {}
    if not facets.get("chosen"):
        return ""
    chosen = ", ".join(f"{name}={value}" for name, value in json.loads(facets["chosen"]).items())
    edge = f", at the {facets['edge']} of the grid" if facets.get("edge") else ""
    return f"{chosen}{edge}" + ("" if facets.get("converged", True) else "; the solver did not converge")


def _seeds(inputs: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    named = {"probe_seed": "probe", "control_seed": "control labels"}
    parts = [f"{title} {inputs[name]}" for name, title in named.items() if inputs.get(name) is not None]
    if row.get("role") == "random" and row.get("seed") is not None:
        parts.append(f"random weights {row['seed']}")
    return ", ".join(parts) or "none matters"
