"""Compares our states with those of the plain model, for small random models of many transformers architectures.

Usage: python scripts/results/encoder_architectures.py OUT [NAMES]     (NAMES: only these architectures, with commas)
The models are those of `tests/architectures.py`. Writes OUT/architectures.md, a row for each: the largest difference over layers,
poolings and sentences, relative to the largest entry; how sentences are run; whether a masking by attention is offered; the names
of the first and the last layer; the result of `probing check`; processor seconds of the inspection. Its manifest is
architectures-manifest.json.
"""

import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers

from probing import load_encoder
from probing.encoders.conformance import check
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.errors import ProbingError
from probing.provenance import processor, provenance
from probing.store.extraction import extract
from probing.types import Representation

sys.path += [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "tests")]
from architectures import ARCHITECTURES, TEXTS, build, plain_states, save, tokenizer
from output import manifest, table, write_json

POOLINGS = {
    "cls": lambda state: state[0],
    "mean": lambda state: state.mean(0),
    "max": lambda state: state.max(0),
    "last": lambda state: state[-1],
}
HEAD = "architecture | layers | result | difference | run | attention | layer 0 | last layer | probing check | seconds"


def largest_difference(encoder, model) -> float:
    """The largest difference of our vectors from the pooled states of the plain model, over all its layers."""
    vectors = extract(encoder, encoder.tokenize(TEXTS)[0], tuple(POOLINGS))
    layers = list(zip(*plain_states(model, tokenizer()), strict=True))  # for each layer, the states of each text
    added = len(encoder.dims) - len(layers)
    worst = 0.0
    for pooling, pool in POOLINGS.items():
        for k, layer in enumerate(layers):
            plain = np.stack([pool(state) for state in layer])
            worst = max(worst, float(np.abs(vectors[Representation(k + added, pooling)] - plain).max() / np.abs(plain).max()))
    return worst


def row(name: str, home: Path) -> list[str]:
    model = build(name)
    folder = str(save(model, home / name))
    encoder = load_encoder("hf", name=folder)
    try:
        names, seconds = encoder.layer_names, seconds_of_inspection(encoder)
    except ProbingError as error:
        message = str(error).replace(str(home) + "/", "").replace("|", "/")
        return [name, "", f"refused: {message}", *[""] * 7]
    difference = largest_difference(encoder, model)
    checked = check(lambda: load_encoder("hf", name=folder), texts=TEXTS)
    failed = [rule.rule for rule in checked.checks if rule.held is False]
    return [
        name, str(len(names)), "right" if difference < 1e-4 else "**WRONG**", f"{difference:.0e}", encoder.company,
        "yes" if encoder.obeys_mask else "no", names[0], names[-1], "conforms" if checked.ok else f"**fails**: {'; '.join(failed)}",
        f"{seconds:.2f}",
    ]  # fmt: skip


def seconds_of_inspection(encoder: HuggingFaceEncoder) -> float:
    """Processor seconds of the inspection at load."""
    text, start = encoder._text, time.process_time()
    text.find_layers(encoder._test_length)
    text.batching(encoder._batch_test_length)
    return time.process_time() - start


def main(out: Path, names: tuple[str, ...]) -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    start, rows = time.time(), []
    with tempfile.TemporaryDirectory() as home:
        for name in names:
            rows.append(row(name, Path(home)))
            print(" | ".join(rows[-1]), flush=True)
    right, refused = sum(r[2] == "right" for r in rows), sum(r[2].startswith("refused") for r in rows)
    minilm = min(seconds_of_inspection(load_encoder("minilm")) for _ in range(3))
    agree = sum(r[8] == "conforms" for r in rows)
    text = [
        "# Architectures of transformers, compared with the plain model",
        "",
        f"{len(rows)} small random models: {right} right, {refused} refused in one sentence, {len(rows) - right - refused} wrong. "
        f"By `probing check` {agree} of the {len(rows) - refused} models that are read conform.",
        f"The inspection of MiniLM takes {minilm:.2f} processor seconds (the least of three, one thread, {processor()['name']}).",
        "",
        "Difference: the largest of our vectors from those of the plain model run on one sentence at a time, over all layers, four",
        "poolings and four sentences, relative to the largest entry. Run: the batches in which a sentence keeps its states.",
        "Attention: whether `masking=attention` is offered. Seconds: processor time of the inspection at load.",
        "",
        *table(HEAD.split(" | "), rows),
    ]
    out.mkdir(parents=True, exist_ok=True)
    (out / "architectures.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    write_json(out / "architectures-manifest.json", manifest(seconds=round(time.time() - start), **provenance()))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main(Path(sys.argv[1]), tuple(sys.argv[2].split(",")) if len(sys.argv) > 2 else ARCHITECTURES)
