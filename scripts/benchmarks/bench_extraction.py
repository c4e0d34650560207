"""Extraction of all layers × four poolings: every engine and precision, a plain transformers loop and sentence-transformers.

Usage: python scripts/benchmarks/bench_extraction.py OUT DATA [--parts minilm,base,workers] [--model minilm] [--sentences 384]
       [--repeats 5] [--packed COMMIT]

DATA: a folder of SentEval files. All sentences are drawn with seed 0. MODEL: an encoder preset or a folder of a BERT-like model.
`minilm`: MODEL. `base`: the shape of BERT-base with random weights and MODEL's tokenizer, on a sixth of the sentences. Each variant
tokenises and gives arrays of numpy; one process, one thread, processor seconds, interleaved. sentence-transformers gives the last
layer alone. int8 (needs the package onnx): see `precision.py`. COMMIT: one that has packed.py, which is then measured, too.
Useful work: the matrix products of the real tokens, by the model's config; peak: the fastest product of its shapes by torch.mm in
the same repeat, in float32 and bfloat16 (torch has no public product of int8).
`workers`: 1 process × 2 threads against 2 processes × 1 thread, wall. How cost grows: `bench_scaling.py`.
OUT: extraction.json, extraction.md; parts that are not run stay as they are.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from extraction_variants import encoder_of, ours, variants
from sixty_lines import loop, tokenizer_and_model
from timing import Timed

from probing.data.sources import SentEvalFolder
from probing.provenance import multiplies_bfloat16

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, table, write_json

FLOAT64 = 64
"""Sentences on which vectors are compared with those in float64."""


def sentences(data: str) -> list[str]:
    """The distinct sentences of all tasks, shuffled."""
    tasks = SentEvalFolder(data).tasks(None)
    texts = list(dict.fromkeys(text for task in tasks for split in task.splits.values() for text in split.texts))
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))]


def base_of(model: str, folder: str) -> str:
    """A folder with a model of BERT-base's shape, its weights drawn from seed 0, and the tokenizer of another model."""
    import transformers

    tokenizer, _ = tokenizer_and_model(encoder_of(model).folder)
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def flops(config, tokens: int) -> float:
    """Of the matrix products for a sentence of so many tokens: per layer, Q K V O, two of the feed-forward net, QK' and AV."""
    h = config.hidden_size
    return config.num_hidden_layers * tokens * (2 * 4 * h * h + 2 * 2 * h * config.intermediate_size + 2 * 2 * tokens * h)


def peak(config, dtype: torch.dtype = torch.float32, rows: int = 2048) -> float:
    """Flops a second of the fastest shape (the model's, and 1024³) by torch.mm, medians of 5."""
    h, wide, best = config.hidden_size, config.intermediate_size, 0.0
    with torch.inference_mode():
        for m, k, n in ((rows, h, h), (rows, h, wide), (rows, wide, h), (1024, 1024, 1024)):
            a, b, times = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype), []
            for _ in range(6):
                start = time.process_time()
                torch.mm(a, b)
                times.append(max(time.process_time() - start, 1e-9))
            best = max(best, 2 * m * k * n / statistics.median(times[1:]))
    return best


def speed(args, texts: list[str], model: str) -> dict:
    torch.set_num_threads(1)
    encoder = encoder_of(model)
    tokenizer, exact = tokenizer_and_model(encoder.folder)
    float64 = loop(tokenizer, exact.double(), texts[:FLOAT64])
    del exact
    calls, starts = variants(model, texts, args.packed)
    lengths = [len(item) for item in encoder.tokenize(texts)[0]]
    work = sum(flops(encoder.config, n) for n in lengths)
    apart = {key: largest(call(), float64) for key, call in calls.items()}  # warms up, too
    timed, peaks = Timed(), {"float32": [], "bfloat16": []}
    for repeat in range(args.repeats):
        peaks["float32"].append(peak(encoder.config))
        if multiplies_bfloat16():
            peaks["bfloat16"].append(peak(encoder.config, torch.bfloat16))
        timed.repeat(calls, repeat)
    rows = []
    for key in calls:
        spent, limits = timed.cpu[key], peaks.get(key[1])
        middle = statistics.median(spent)
        rows.append(
            {
                "variant": key[0],
                "precision": key[1],
                "cpu_seconds": middle,
                "spread": [min(spent), max(spent)],
                "tokens_per_second": sum(lengths) / middle,
                "share_of_peak": work / middle / statistics.median(limits) if limits else None,
                "times_loop": statistics.median(a / b for a, b in zip(timed.cpu["plain loop", "float32"], spent, strict=True)),
                "from_float64": apart[key][0],
                "from_float64_relative_to_layer": apart[key][1],
                "start": starts.get(" ".join(key)),
                "repeats": spent,
            }
        )
    return {
        "sentences": len(texts),
        "tokens": sum(lengths),
        "mflop_per_token": work / sum(lengths) / 1e6,
        "peak_gflops": {name: [p / 1e9 for p in rates] for name, rates in peaks.items()},
        "rows": rows,
    }


def largest(vectors, exact) -> tuple[float, float]:
    """Largest difference to the vectors in float64, and as a share of the column's largest entry."""
    apart = []
    for column, x in vectors.items():
        right = exact[column if isinstance(column, tuple) else (column.layer, column.pooling)]
        difference = np.abs(x[:FLOAT64] - right).max()
        apart.append((float(difference), float(difference / np.abs(right).max())))
    return max(a for a, _ in apart), max(b for _, b in apart)


def _worker(model: str, texts: list[str], threads: int, ready, done) -> None:
    torch.set_num_threads(threads)
    encoder = encoder_of(model)
    ours(encoder, texts[:64])
    ready.wait()
    start = time.process_time()
    ours(encoder, texts)
    done.put(time.process_time() - start)


def workers(args, texts: list[str]) -> dict:
    fresh = multiprocessing.get_context("forkserver")
    fresh.set_forkserver_preload(["probing.encoders.hf.engines", "transformers.models.bert.modeling_bert"])  # before anything runs
    times: dict[str, list[list[float]]] = {}
    for _ in range(args.repeats):
        for processes, threads in ((1, 1), (1, 2), (2, 1)):
            ready, done = fresh.Barrier(processes + 1), fresh.Queue()
            tasks = [
                fresh.Process(target=_worker, args=(args.model, texts[k::processes], threads, ready, done))
                for k in range(processes)
            ]
            for task in tasks:
                task.start()
            ready.wait()
            start = time.perf_counter()
            spent = sum(done.get() for _ in tasks)
            times.setdefault(f"{processes} × {threads}", []).append([time.perf_counter() - start, spent])
            for task in tasks:
                task.join()
    middle = {name: np.median(repeats, axis=0).tolist() for name, repeats in times.items()}
    return {
        "sentences": len(texts),
        "rows": [{"how": k, "wall": v[0], "cpu": v[1], "repeats": times[k]} for k, v in middle.items()],
    }


def speed_lines(part: dict) -> list[str]:
    peaks = ", ".join(f"{min(p):.0f}-{max(p):.0f} in {kind}" for kind, p in part["peak_gflops"].items() if p)
    repeats = len(part["rows"][0]["repeats"])
    order = {"float32": 0, "bfloat16": 1, "int8": 2}
    rows = [
        [
            r["variant"], r["precision"], f"{r['cpu_seconds']:.2f}", f"{r['spread'][0]:.2f}-{r['spread'][1]:.2f}",
            f"{r['tokens_per_second']:.0f}", "" if r["share_of_peak"] is None else f"{r['share_of_peak']:.0%}",
            f"{r['times_loop']:.2f}", f"{r['from_float64']:.1e}, {r['from_float64_relative_to_layer']:.1e}",
            "" if r["start"] is None else f"{r['start']:.1f}",
        ]
        for r in sorted(part["rows"], key=lambda r: (order[r["precision"]], r["times_loop"]))
    ]  # fmt: skip
    return [
        f"{part['sentences']} sentences, {part['tokens']} tokens, {part['mflop_per_token']:.1f} MFLOP a token. Processor seconds,",
        f"one thread, medians of {repeats} interleaved repeats. Peak by torch.mm in the same run, GFLOP/s: {peaks}. From float64:",
        "largest difference, and as a share of the column's largest entry. Start: processor seconds until the first vector.",
        "",
        *table(["", "precision", "CPU-s", "min-max", "tokens/s", "share of peak", "× loop", "from float64", "start"], rows),
    ]


def markdown(results: dict) -> str:
    measured = [part for part in ("minilm", "base", "workers") if part in results]
    lines = ["# Extraction: all layers × four poolings", ""]
    lines += ["; ".join(f"{part}: {results[part]['machine']}" for part in measured) + "."]
    for name, title in (("minilm", "MiniLM"), ("base", "The shape of BERT-base, random weights")):
        if part := results.get(name):
            lines += ["", f"## {title}", "", *speed_lines(part)]
    lines += [
        "",
        "Not measured: backends of sentence-transformers for ONNX and OpenVINO (they need the package optimum), int8 of OpenVINO",
        "(it needs nncf) and of torch (deprecated there).",
    ]
    if part := results.get("workers"):
        lines += ["", f"## Processes × threads, {part['sentences']} sentences", ""]
        rows = []
        for r in part["rows"]:
            walls = [wall for wall, _ in r["repeats"]]
            rows.append([r["how"], f"{r['wall']:.2f}", f"{min(walls):.2f}-{max(walls):.2f}", f"{r['cpu']:.2f}"])
        lines += table(["", "wall s, median", "least - most", "CPU-s"], rows)
    return "\n".join(lines) + "\n"


def keep(out: Path, name: str, parts: dict[str, Callable[[], dict]], markdown: Callable[[dict], str]) -> None:
    """Measures the parts, one after the other, and writes them into NAME.json and NAME.md; other parts there stay as they are."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{name}.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for part, measure in parts.items():
        results[part] = measure() | manifest()
        write_json(file, results)
        (out / f"{name}.md").write_text(markdown(results), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("data")
    parser.add_argument("--parts", default="minilm,base,workers")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--sentences", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--packed")
    args = parser.parse_args()
    texts = sentences(args.data)[: args.sentences]
    with tempfile.TemporaryDirectory() as folder:
        measures = {
            "minilm": lambda: speed(args, texts, args.model),
            "base": lambda: speed(args, texts[: len(texts) // 6], base_of(args.model, folder)),
            "workers": lambda: workers(args, texts),
        }
        keep(args.out, "extraction", {part: measures[part] for part in args.parts.split(",")}, markdown)


if __name__ == "__main__":
    main()
