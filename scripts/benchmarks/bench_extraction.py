"""Extraction of all layers × four poolings against a plain transformers loop; its parts, threads and processes.

Usage: python scripts/benchmarks/bench_extraction.py OUT DATA [--parts speed,workers] [--model minilm] [--sentences 1024]
       [--repeats 5]
DATA: a folder of SentEval files. MODEL: an encoder preset or a folder of a BERT-like model. All sentences are drawn with seed 0.
`speed`: the loop of `sixty_lines.py`, sentences in the order drawn; then ours, part by part. Both tokenise. One thread, processor
seconds, interleaved. Useful work: the matrix products of the real tokens, by the model's config; peak: the fastest product of its
shapes in the same repeat.
`workers`: 1 process × 2 threads against 2 processes × 1 thread, wall. How cost grows: `bench_scaling.py`.
OUT: extraction.json, extraction.md; parts that are not run stay as they are.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sixty_lines import loop, tokenizer_and_model
from timing import Timed

from probing import load_encoder
from probing.data.sources import SentEvalFolder
from probing.encoders.hf import onednn, packed
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.store.extraction import extract
from probing.types import Representation

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, table, write_json

POOLINGS = ("cls", "mean", "max", "last")


def sentences(data: str) -> list[str]:
    """The distinct sentences of all tasks, shuffled."""
    tasks = SentEvalFolder(data).tasks(None)
    texts = list(dict.fromkeys(text for task in tasks for split in task.splits.values() for text in split.texts))
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))]


def encoder_of(model: str) -> HuggingFaceEncoder:
    return HuggingFaceEncoder(model) if Path(model).is_dir() else load_encoder(model)


def ours(encoder, texts: list[str]) -> dict[Representation, np.ndarray]:
    return extract(encoder, encoder.tokenize(texts)[0], POOLINGS)


def flops(config, tokens: int) -> float:
    """Of the matrix products for a sentence of so many tokens: per layer, Q K V O, two of the feed-forward net, QK' and AV."""
    h = config.hidden_size
    return config.num_hidden_layers * tokens * (2 * 4 * h * h + 2 * 2 * h * config.intermediate_size + 2 * 2 * tokens * h)


def peak(config, rows: int = 2048) -> dict[str, float]:
    """Flops a second of the fastest shape (the model's, and 1024³), medians of 5: by torch.mm, and by oneDNN where ours uses it."""
    h, wide, best = config.hidden_size, config.intermediate_size, {}
    with torch.inference_mode():
        for m, k, n in ((rows, h, h), (rows, h, wide), (rows, wide, h), (1024, 1024, 1024)):
            x, linear = torch.randn(m, k), torch.nn.Linear(k, n).requires_grad_(False)
            products = {"torch.mm": partial(torch.mm, x, linear.weight.t().contiguous())}
            if onednn.pays():
                packed.pack(linear)
                products["oneDNN"] = partial(linear, x)
            for name, product in products.items():
                times = []
                for _ in range(6):
                    start = time.process_time()
                    product()
                    times.append(max(time.process_time() - start, 1e-9))
                best[name] = max(best.get(name, 0.0), 2 * m * k * n / statistics.median(times[1:]))
    return best


def speed(args, texts: list[str]) -> dict:
    torch.set_num_threads(1)
    texts = texts[: args.sentences]
    encoder = encoder_of(args.model)
    tokenizer, model = tokenizer_and_model(encoder.folder)
    pays = onednn.pays()
    onednn.pays = lambda: False
    by_length, hooked = encoder_of(args.model), encoder_of(args.model)
    by_length.pooled = None
    _ = by_length.model, hooked.model
    onednn.pays = lambda: pays
    calls = {
        "plain loop": partial(loop, tokenizer, model, texts),
        "batches of one length": partial(ours, by_length, texts),
        "+ poolings by hooks": partial(ours, hooked, texts),
        "+ oneDNN = probing": partial(ours, encoder, texts),
    }
    lengths = [len(item) for item in encoder.tokenize(texts)[0]]
    work = sum(flops(encoder.config, n) for n in lengths)
    first = {name: call() for name, call in calls.items()}  # warms up; its vectors are compared
    plain = first["plain loop"]
    vectors = {c: first["+ oneDNN = probing"][Representation(*c)] for c in plain}
    exact = loop(tokenizer, model.double(), texts[:128])
    model.float()
    scale = {c: max(1.0, np.abs(x).max()) for c, x in plain.items()}
    apart = {
        "largest_difference": max(np.abs(plain[c] - vectors[c]).max() for c in plain),
        "largest_difference_relative_to_layer": max(np.abs(plain[c] - vectors[c]).max() / scale[c] for c in plain),
        "largest_entry": max(scale.values()),
        "loop_from_float64": max(np.abs(plain[c][:128] - exact[c]).max() for c in plain),
        "probing_from_float64": max(np.abs(vectors[c][:128] - exact[c]).max() for c in plain),
    }
    timed, peaks = Timed(), []
    for repeat in range(args.repeats):
        peaks.append(peak(encoder.config))
        timed.repeat(calls, repeat)
    peaks = {name: [one[name] for one in peaks] for name in peaks[0]}
    limits = {name: statistics.median(rates) for name, rates in peaks.items()}
    rows = []
    for name in calls:
        spent = timed.cpu[name]
        middle = statistics.median(spent)
        rows.append(
            {
                "variant": name,
                "cpu_seconds": middle,
                "spread": [min(spent), max(spent)],
                "wall_seconds": statistics.median(timed.wall[name]),
                "sentences_per_second": len(texts) / middle,
                "tokens_per_second": sum(lengths) / middle,
                "share_of_peak": {peak: work / middle / limit for peak, limit in limits.items()},
                "times_loop": statistics.median(a / b for a, b in zip(timed.cpu["plain loop"], spent, strict=True)),
                "repeats": spent,
            }
        )
    return {
        "sentences": len(texts),
        "tokens": sum(lengths),
        "mflop_per_token": work / sum(lengths) / 1e6,
        "peak_gflops": {name: [p / 1e9 for p in rates] for name, rates in peaks.items()},
        "onednn": pays,
        **{k: float(v) for k, v in apart.items()},
        "rows": rows,
        "profile": profile(calls["+ oneDNN = probing"]),
    }


def profile(call) -> dict[str, float]:
    """Share of the processor time of the largest operators."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        call()
    spent = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    total = sum(spent.values())
    return {name: spent[name] / total for name in sorted(spent, key=spent.get, reverse=True)[:10]}


def _worker(model: str, texts: list[str], threads: int, ready, done) -> None:
    torch.set_num_threads(threads)
    encoder = encoder_of(model)
    ours(encoder, texts[:64])
    ready.wait()
    start = time.process_time()
    ours(encoder, texts)
    done.put(time.process_time() - start)


def workers(args, texts: list[str]) -> dict:
    texts, fresh = texts[: args.sentences], multiprocessing.get_context("forkserver")
    fresh.set_forkserver_preload(["probing.encoders.hf.packed", "transformers.models.bert.modeling_bert"])  # before anything runs
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


def markdown(results: dict) -> str:
    lines = ["# Extraction: all layers × four poolings"]
    if part := results.get("speed"):
        peaks = ", ".join(f"{min(p):.0f}-{max(p):.0f} by {name}" for name, p in part["peak_gflops"].items())
        lines += [
            "",
            f"{part['sentences']} sentences, {part['tokens']} tokens, {part['mflop_per_token']:.1f} MFLOP a token. One thread, "
            f"processor seconds, medians of {len(part['rows'][0]['repeats'])} interleaved repeats. GEMM peak of the same run in "
            f"GFLOP/s: {peaks}. Largest difference to the loop {part['largest_difference']:.1e} (entries up to "
            f"{part['largest_entry']:.0f}; relative to the layer's largest {part['largest_difference_relative_to_layer']:.1e}); "
            f"largest distance from float64, on 128 sentences: the loop {part['loop_from_float64']:.1e}, probing "
            f"{part['probing_from_float64']:.1e}.",
            "",
        ]
        share = f"share of peak: {', '.join(part['peak_gflops'])}"
        rows = [
            [
                r["variant"], f"{r['cpu_seconds']:.2f}", f"{r['spread'][0]:.2f}-{r['spread'][1]:.2f}", f"{r['wall_seconds']:.2f}",
                f"{r['sentences_per_second']:.0f}", f"{r['tokens_per_second']:.0f}",
                ", ".join(f"{of_peak:.0%}" for of_peak in r["share_of_peak"].values()), f"{r['times_loop']:.2f}",
            ]
            for r in part["rows"]
        ]  # fmt: skip
        lines += table(["", "CPU-s", "min-max", "wall s", "sentences/s", "tokens/s", share, "× loop"], rows)
        lines += ["", "Where the time of the last row goes: " + ", ".join(f"{k} {v:.1%}" for k, v in part["profile"].items()) + "."]
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
    parser.add_argument("--parts", default="speed,workers")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--sentences", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    texts, measures = sentences(args.data), {"speed": speed, "workers": workers}
    keep(args.out, "extraction", {part: partial(measures[part], args, texts) for part in args.parts.split(",")}, markdown)


if __name__ == "__main__":
    main()
