"""What reduced precision of the extraction costs a probe, layer by layer: float32 against bfloat16 and int8.

Usage: python scripts/benchmarks/precision.py DATA OUT [--model minilm] [--tasks a,b] [--train 800] [--dev 400] [--test 600]
                                              [--classes 50] [--scratch DIR]

DATA: a folder of SentEval files, of which samples are drawn (seed 0; of WordContent --classes words). Every precision is an encoder
of its own; all layers and poolings are probed by `fast` on the same items. `float32, again` (OpenVINO in place of torch) is the
null: its vectors differ by rounding alone. int8 (needs the package onnx): ONNX Runtime's dynamic quantisation (weights by channel,
activations by batch), made here, as the suite refuses it. SCRATCH keeps vectors, cells and seconds: a stopped run goes on.

OUT: errors.csv (root mean square difference of a feature in units of its standard deviation, median and largest over the features
that vary), cells.csv (change of test accuracy in points with its 95 % interval over test items, p by exact McNemar, Holm's over the
cells of a precision), table.md, manifest.json.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from probing import Store, evaluate, load_encoder
from probing.data.sources import SentEvalFolder
from probing.encoders.hf.engines import Graph, onnx_of
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.evaluation.paired_tests import holm
from probing.files import replace_file
from probing.store.results import ResultStore
from probing.types import Representation

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, table, write_json

REFERENCE, AGAIN = "float32", "float32, again"
VARIES = 1e-5
"""A feature varies if its deviation is more than this share of the layer's largest."""


class Quantised(Graph):
    """A graph with int8 products, which need not agree with torch's."""

    def _compile(self, poolings):
        import onnxruntime
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with tempfile.TemporaryDirectory() as folder:
            plain, small = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
            plain.write_bytes(onnx_of(self.text, self.samples, poolings))
            quantize_dynamic(plain, small, weight_type=QuantType.QInt8, per_channel=True)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            session = onnxruntime.InferenceSession(small.read_bytes(), options, providers=["CPUExecutionProvider"])
        return lambda given: [torch.from_numpy(v) for v in session.run(None, {k: v.numpy() for k, v in given.items()})]


@dataclass(repr=False)
class Int8(HuggingFaceEncoder):
    """An encoder whose vectors depend on their batch: for this measurement alone."""

    @cached_property
    def description(self):
        return {**super().description, "products": ["int8", version("onnxruntime")]}

    def pooled(self, items, poolings):
        return self._graph.pooled(items, poolings)

    @cached_property
    def _graph(self):
        return Quantised(self._text, "onnx", self._text.samples(self.inspection.longest))


def encoders_of(model: str) -> dict[str, HuggingFaceEncoder]:
    preset, more = ("hf", {"name": model}) if Path(model).is_dir() else (model, {})
    made = {
        REFERENCE: load_encoder(preset, **more, label=REFERENCE),
        AGAIN: load_encoder(preset, **more, label=AGAIN, engine="openvino"),
        "bfloat16": load_encoder(preset, **more, label="bfloat16", engine="openvino", autocast="bfloat16"),
    }
    plain = made[REFERENCE]
    made["int8"] = Int8(plain._source, revision=plain.revision, package=plain.package, label="int8")
    return made


def errors(vectors, texts: Sequence[str], names: Sequence[str], layers: int, poolings: Sequence[str]) -> pd.DataFrame:
    """The error of each layer, pooling and precision against the reference."""
    rows, lines = {name: stored.rows(texts) for name, stored in vectors.items()}, []
    for layer in range(layers):
        for pooling in poolings:
            exact = rows[REFERENCE].get(Representation(layer, pooling)).astype(np.float64)
            deviation = exact.std(0)
            varies = deviation > VARIES * max(1.0, np.abs(exact).max())
            for name in names:
                other = rows[name].get(Representation(layer, pooling))
                size = np.sqrt(((other - exact)[:, varies] ** 2).mean(0)) / deviation[varies]
                line = {"precision": name, "layer": layer, "pooling": pooling, "features": int(varies.sum())}
                lines.append(line | {"median": np.median(size) if varies.any() else 0, "largest": size.max(initial=0)})
    return pd.DataFrame(lines)


def changes(result, names: dict[str, str]) -> pd.DataFrame:
    """The change of accuracy of each cell against the reference on the same test items."""
    done = result.frame[(result.frame.role == "probe") & (result.frame.status == "done")]
    if len(done) < len(result.frame[result.frame.role == "probe"]):
        sys.exit("some cells failed: run the script again")
    key, lines = ["task", "layer", "pooling"], []
    exact = done[done.encoder == names[REFERENCE]].set_index(key)
    for name, label in names.items():
        if name == REFERENCE:
            continue
        own = []
        for row in done[done.encoder == label].itertuples():
            right = exact.loc[(row.task, row.layer, row.pooling)]
            compared = result.compare_cells([row.cell], [right.cell])
            own.append(
                {
                    "precision": name, "task": row.task, "layer": row.layer, "pooling": row.pooling,
                    "accuracy": 100 * row.accuracy, "reference": 100 * right.accuracy, "change": 100 * compared.difference,
                    "low": 100 * compared.low, "high": 100 * compared.high, "disagree": compared.discordance, "p": compared.p,
                }
            )  # fmt: skip
        adjusted = holm([line["p"] for line in own])
        lines += [line | {"p_holm": p} for line, p in zip(own, adjusted, strict=True)]
    return pd.DataFrame(lines)


def answers(result, names: dict[str, str]) -> pd.DataFrame:
    """For each task and precision: the best layer and pooling, the columns tied with it, and the ranks of layers, beside the
    reference's."""
    best = result.best().set_index(["task", "encoder"])
    scores = result.frame[result.frame.role == "probe"]
    lines = []
    for task in result.tasks:
        right = best.loc[(task, names[REFERENCE])]
        tied = set(map(tuple, right.not_separated))
        for name, label in names.items():
            own = best.loc[(task, label)]
            ours, place = set(map(tuple, own.not_separated)), (int(own.layer), own.pooling)
            taus = []
            for _, part in scores[scores.task == task].groupby("pooling"):
                a, b = (part[part.encoder == one].sort_values("layer") for one in (label, names[REFERENCE]))
                taus.append(tau_apart(a.accuracy.to_numpy(), b.accuracy.to_numpy(), b.accuracy_low, b.accuracy_high))
            lines.append(
                {
                    "task": task, "precision": name, "best": f"{place[0]} {place[1]}", "accuracy": 100 * own.score,
                    "same_best": place == (int(right.layer), right.pooling), "in_tied_set": place in tied,
                    "tied": len(ours), "tied_shared": len(ours & tied), "tied_reference": len(tied),
                    "tau_apart": np.nanmean(taus) if np.isfinite(taus).any() else np.nan,
                }
            )  # fmt: skip
    return pd.DataFrame(lines)


def tau_apart(a, b, low, high) -> float:
    """Kendall's tau of two lists over the pairs whose intervals in the second do not overlap; NaN without such a pair."""
    low, high = low.to_numpy(), high.to_numpy()
    pairs = [(i, j) for i in range(len(a)) for j in range(i) if low[i] > high[j] or low[j] > high[i]]
    if not pairs:
        return np.nan
    return float(np.mean([np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i, j in pairs]))


def markdown(error: pd.DataFrame, change: pd.DataFrame, answer: pd.DataFrame, facts: dict) -> str:
    names = list(dict.fromkeys(change.precision))
    lines = [
        "# What reduced precision costs a probe",
        "",
        f"{facts['model']}, {facts['train']} train, {facts['dev']} dev and {facts['test']} test sentences of {facts['tasks']} "
        f"tasks (of WordContent {facts['classes']} words), probe `fast`; each precision against float32 (torch) on the same items.",
        f"`{AGAIN}` is float32 in another engine.",
        "",
        "## Error of a feature in units of its standard deviation: median / largest",
        "",
    ]
    shown = error.assign(cell=[f"{m:.2g} / {x:.2g}" for m, x in zip(error["median"], error.largest, strict=True)])
    for name in names:
        wide = shown[shown.precision == name].pivot(index="layer", columns="pooling", values="cell")
        rows = [[layer, *row] for layer, row in zip(wide.index, wide.values, strict=True)]
        lines += [f"{name}:", "", *table(["layer", *wide.columns], rows), ""]
    lines += ["## Change of test accuracy in points, over the cells of all tasks and poolings", ""]
    rows = []
    for name in names:
        part = change[change.precision == name]
        size = part.change.abs()
        rows.append(
            [
                name, len(part), f"{part.change.mean():+.2f}", f"{size.median():.2f}", f"{size.quantile(0.95):.2f}",
                f"{part.change.min():+.1f} to {part.change.max():+.1f}", f"{(part.high - part.low).median() / 2:.2f}",
                f"{100 * part.disagree.median():.1f} %", int((part.p < 0.05).sum()), int((part.p_holm < 0.05).sum()),
            ]
        )  # fmt: skip
    head = ["precision", "cells", "mean", "median size", "95 % below", "range", "half-width of the interval, median"]
    head += ["items that change, median"]
    lines += [*table([*head, "p < 0.05", "after Holm"], rows), ""]
    for by in ("layer", "pooling", "task"):
        lines += [f"By {by}: mean change (mean size); cells with p < 0.05 after Holm", ""]
        groups = list(dict.fromkeys(change[by]))
        rows = [[name, *(_by(change[(change.precision == name) & (change[by] == g)]) for g in groups)] for name in names]
        lines += [*table(["precision", *groups], rows), ""]
    lines += [
        "## Answers",
        "",
        "Best layer and pooling by dev; whether it is float32's, and in its tied set; columns tied with the best: shared with",
        "those of float32, its own, and those of float32; tau: agreement of the order of layers over the pairs whose intervals do",
        "not overlap in float32 (mean over poolings).",
        "",
    ]
    rows = [
        [
            a.task, a.precision, a.best, f"{a.accuracy:.1f}", "yes" if a.same_best else "no", "yes" if a.in_tied_set else "no",
            f"{a.tied_shared} of {a.tied} and {a.tied_reference}", "" if np.isnan(a.tau_apart) else f"{a.tau_apart:.2f}",
        ]
        for a in answer.itertuples()
    ]  # fmt: skip
    lines += table(["task", "precision", "best", "accuracy", "same", "in the tied set", "tied", "tau"], rows)
    return "\n".join(lines) + "\n"


def _by(part: pd.DataFrame) -> str:
    return f"{part.change.mean():+.2f} ({part.change.abs().mean():.2f}); {int((part.p_holm < 0.05).sum())}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--tasks", default="")
    for name, size in (("train", 800), ("dev", 400), ("test", 600), ("classes", 50)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--scratch", type=Path, default=Path("probing-out/precision"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    tasks = [
        task.with_classes(args.classes, 0).subset(args.train, 0, args.dev, args.test)
        for task in SentEvalFolder(args.data).tasks(args.tasks.split(",") if args.tasks else None)
    ]
    texts = list(dict.fromkeys(text for task in tasks for split in task.splits.values() for text in split.texts))
    encoders, file = encoders_of(args.model), args.scratch / "seconds.json"
    store, cells = Store(args.scratch / "store"), ResultStore(args.scratch / "cells")
    poolings = [p for p in encoders[REFERENCE].poolings if p in ("cls", "mean", "max", "last")]
    spent = json.loads(file.read_text()) if file.is_file() else {}
    vectors = {}
    for name, encoder in encoders.items():
        start = time.process_time()
        vectors[name] = store.vectors(encoder, texts, poolings)
        spent.setdefault(f"extraction, {name}", time.process_time() - start)
        replace_file(file, json.dumps(spent).encode())
    layers = len(encoders[REFERENCE].dims)
    names = {name: encoder.name for name, encoder in encoders.items()}
    error = errors(vectors, texts, [name for name in names if name != REFERENCE], layers, poolings)
    start = time.process_time()
    result = evaluate(tasks, list(encoders.values()), store=store, cells=cells, poolings=poolings, controls=[], floors=[])
    spent["probes"] = spent.get("probes", 0.0) + time.process_time() - start
    replace_file(file, json.dumps(spent).encode())
    change, answer = changes(result, names), answers(result, names)
    facts = {"model": args.model, "tasks": len(tasks), **{k: getattr(args, k) for k in ("train", "dev", "test", "classes")}}
    args.out.mkdir(parents=True, exist_ok=True)
    error.to_csv(args.out / "errors.csv", index=False, float_format="%.6g")
    change.to_csv(args.out / "cells.csv", index=False, float_format="%.6g")
    (args.out / "table.md").write_text(markdown(error, change, answer, facts), encoding="utf-8")
    engines = {name: version(name) for name in ("openvino", "onnxruntime")}
    seconds = {name: round(value, 1) for name, value in spent.items()}
    write_json(args.out / "manifest.json", manifest(**facts, sentences=len(texts), processor_seconds=seconds, engines=engines))


if __name__ == "__main__":
    main()
