"""What a CUDA device gives: extraction, share of its bfloat16 peak, probes side by side, the grid of WordContent. Ten minutes.

Usage: python scripts/benchmarks/gpu.py OUT [--device cuda] [--model minilm] [--data DATA] [--repeats 3] [--quick]
`extraction`: the loop of `sixty_lines.py` in float32 on the device; probing in float32 and in bfloat16 (batches of nearly one
length, hardly anything is padded; attention as transformers chooses it, SDPA); and batches sorted by length in bfloat16 with each
attention that transformers offers for the model (FlashAttention 2 where flash_attn is there). MODEL: a preset or a folder.
`share`: a BERT-base shape with random weights in bfloat16, against the fastest of a few square products in bfloat16.
`probes`: label sets of two classes fitted side by side, features on the CPU and on the device. `grid`: 1,000 classes × six C on
planted features; ours, scikit-learn on the CPU, scikit-learn through the array API on the device, and cuML where it is installed,
each to its own tolerance. Sentences: of DATA (SentEval files), or of the built-in grammar. Wall seconds, the device synchronised,
medians; float32 products without TF32. `--quick`: toy sizes, for a test on the CPU. OUT: gpu.json, gpu.md.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # read when SciPy is imported

import numpy as np
import sklearn
import torch
from bench_extraction import flops, keep, sentences
from extraction_variants import POOLINGS
from sixty_lines import GRID, pooled
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from probing import load_encoder
from probing.data.sources import GrammarCorpus
from probing.probes.logistic import Design, best, fit_paths
from probing.store.extraction import batches, extract
from probing.types import Representation

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import table


def seconds(call: Callable, args) -> tuple[float, object]:
    """Median wall seconds of the call after one to warm up, and what it returned."""
    result, spent = call(), []
    for _ in range(args.repeats):
        wait(args.device)
        start = time.perf_counter()
        result = call()
        wait(args.device)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent), result


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


# Extraction.


@torch.no_grad()
def loop(tokenizer, model, texts: list[str], order: list[list[int]], device: str) -> dict:
    """{(layer, pooling): (n, dim)} of the batches; poolings on the device, in float32."""
    out: dict = {}
    for rows in order:
        batch = tokenizer([texts[i] for i in rows], padding=True, truncation=True, return_tensors="pt").to(device)
        for layer, state in enumerate(model(**batch, output_hidden_states=True).hidden_states):
            for name, vectors in pooled(state.float(), batch["attention_mask"]).items():
                place = out.setdefault((layer, name), np.empty((len(texts), vectors.shape[1]), np.float32))
                place[rows] = vectors.cpu().numpy()
    return out


def extraction(args, texts: list[str]) -> dict:
    folder = {"name": args.model} if Path(args.model).is_dir() else {}
    ours = {
        name: load_encoder("hf" if folder else args.model, device=args.device, **folder, **options)
        for name, options in (("probing, float32", {}), ("probing, bfloat16", {"autocast": "bfloat16"}))
    }
    source = ours["probing, float32"].folder
    tokenizer = AutoTokenizer.from_pretrained(source)
    items, _ = ours["probing, float32"].tokenize(texts)
    as_read = [list(range(start, min(start + 32, len(texts)))) for start in range(0, len(texts), 32)]
    by_length = batches([len(item) for item in items], 16384)
    plain = AutoModel.from_pretrained(source, dtype=torch.float32).eval().to(args.device)
    spent, exact = seconds(lambda: loop(tokenizer, plain, texts, as_read, args.device), args)
    rows = [{"what": "loop, float32", "seconds": spent}]
    for name, encoder in ours.items():
        spent, made = seconds(lambda encoder=encoder: extract(encoder, encoder.tokenize(texts)[0], POOLINGS), args)
        rows.append(
            {"what": name, "seconds": spent, "apart": apart(exact, lambda column, made=made: made[Representation(*column)])}
        )
        encoder.release()
    for attention in ("eager", "sdpa", "flash_attention_2"):
        what = f"batches by length, bfloat16, {attention}"
        if attention == "flash_attention_2" and not (find_spec("flash_attn") and args.device.startswith("cuda")):
            rows.append({"what": what, "absent": "flash_attn is not installed, or this is no GPU"})
            continue
        model = AutoModel.from_pretrained(source, dtype=torch.bfloat16, attn_implementation=attention).eval().to(args.device)
        spent, made = seconds(lambda model=model: loop(tokenizer, model, texts, by_length, args.device), args)
        rows.append({"what": what, "seconds": spent, "apart": apart(exact, made.__getitem__)})
    padding = 1 - sum(map(len, items)) / sum(len(rows) * max(len(items[i]) for i in rows) for rows in by_length)
    tokens = sum(map(len, items))
    return {"model": args.model, "sentences": len(texts), "tokens": tokens, "padding": padding, "rows": rows}


def apart(exact: dict, of: Callable) -> float:
    """The largest difference of a vector, as a share of its layer's largest entry."""
    return max(float(np.abs(x - of(column)).max() / max(1.0, np.abs(x).max())) for column, x in exact.items())


# Share of the peak.


@torch.no_grad()
def share(args) -> dict:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 100}
    config = BertConfig(**(small if args.quick else {}))
    model = BertModel(config, add_pooling_layer=False).eval().to(args.device, torch.bfloat16)
    shapes, peaks = [(2, 16)] if args.quick else [(256, 32), (256, 128), (64, 512)], []
    for size in (64,) if args.quick else (4096, 8192):
        a = torch.randn(size, size, device=args.device, dtype=torch.bfloat16)
        spent, _ = seconds(lambda a=a: a @ a, args)
        peaks.append(2 * size**3 / spent)
    rows = []
    for many, length in shapes:
        ids = torch.randint(0, config.vocab_size, (many, length), device=args.device)
        spent, _ = seconds(lambda ids=ids: model(ids, output_hidden_states=True).hidden_states, args)
        rate = many * flops(config, length) / spent
        rows.append(
            {"batch": f"{many} × {length}", "tokens a second": many * length / spent, "rate": rate, "share": rate / max(peaks)}
        )
    return {"peak": max(peaks), "hidden": config.hidden_size, "layers": config.num_hidden_layers, "rows": rows}


# Probes.


def planted(n: int, d: int, classes: int, sets: int, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """Features with a falling spectrum, and labels of noisy linear maps."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5).astype(np.float32)
    maps = np.random.default_rng(1).standard_normal((sets, d, classes)).astype(np.float32)
    return x, [(2 * x @ own + rng.gumbel(size=(n, classes))).argmax(1) for own in maps]


def on(device: str, design: Design, columns: int) -> Design:
    """The design with its matrices on the device, rotated there: the products that are laid out for a CPU are not used."""
    matrix = design.matrix
    features, basis, spectrum = (part.to(device) for part in (matrix.features, matrix.basis, matrix.spectrum))
    rotated = columns > 1
    matrix = matrix._replace(features=basis.T @ features if rotated else features, basis=basis, spectrum=spectrum, rotated=rotated)
    return replace(design, matrix=matrix)


def paths(device: str, x, ys, classes: int, dev) -> list:
    """`fit_paths` with everything on the device."""
    design = Design.prepare(x)
    z = design.transform(dev[0])
    if device == "cpu":
        return fit_paths(design, ys, classes, GRID, (z, dev[1]))
    with torch.device(device):
        return fit_paths(on(device, design, 1 if classes == 2 else classes), ys, classes, GRID, (z.to(device), dev[1]))


def chosen(made: list) -> list[float]:
    return [path[best(path)].dev_accuracy for path in made]


def probes(args) -> dict:
    n, d, sets = (300, 12, 4) if args.quick else (100_000, 384, 24)
    (x, ys), (dev_x, dev_ys) = planted(n, d, 2, sets), planted(n // 5, d, 2, sets, seed=2)
    rows = []
    for device in dict.fromkeys(("cpu", args.device)):
        spent, made = seconds(lambda device=device: chosen(paths(device, x, ys, 2, (dev_x, dev_ys))), args)
        rows.append({"where": device, "seconds": spent, "dev accuracy": statistics.mean(made)})
    return {"n": n, "d": d, "label sets": sets, "rows": rows}


def grid(args) -> dict:
    n, d, classes = (300, 12, 5) if args.quick else (13_855, 384, 1000)
    (x, [y]), (dev_x, [dev_y]) = planted(n, d, classes, 1), planted(n // 5, d, classes, 1, seed=2)
    mean, scale = x.mean(0), x.std(0)
    z, dev_z = (x - mean) / scale, (dev_x - mean) / scale

    def fitted(make: Callable, data, labels, other) -> list[float]:
        scores = []
        for C in GRID:
            predicted = make(C).fit(data, labels).predict(other)
            predicted = predicted.get() if hasattr(predicted, "get") else torch.as_tensor(predicted).cpu().numpy()
            scores.append(float((predicted == dev_y).mean()))
        return [max(scores)]

    def through_array_api() -> list[float]:
        data, labels, other = (torch.as_tensor(part, device=args.device) for part in (z, y, dev_z))
        with sklearn.config_context(array_api_dispatch=True):
            return fitted(lambda C: LogisticRegression(C=C, max_iter=1000), data, labels, other)

    calls = {f"ours, {device}": lambda device=device: chosen(paths(device, x, [y], classes, (dev_x, [dev_y]))) for device in
             dict.fromkeys(("cpu", args.device))}  # fmt: skip
    calls["scikit-learn"] = lambda: fitted(lambda C: LogisticRegression(C=C, max_iter=1000), z, y, dev_z)
    calls[f"scikit-learn, array API, {args.device}"] = through_array_api
    if find_spec("cuml"):
        from cuml.linear_model import LogisticRegression as OfCuml

        calls["cuML"] = lambda: fitted(lambda C: OfCuml(C=C, max_iter=1000), z, y.astype(np.float32), dev_z)
    rows = []
    for name, call in calls.items():
        try:
            spent, [accuracy] = seconds(call, args)
            rows.append({"what": name, "seconds": spent, "dev accuracy": accuracy})
        except Exception as error:  # a rival that cannot do this is a row, too; ours must not fail
            if name.startswith("ours"):
                raise
            rows.append({"what": name, "absent": f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"})
    return {"n": n, "d": d, "classes": classes, "rows": rows}


def markdown(results: dict) -> str:
    lines = ["# One GPU", ""]
    if part := results.get("extraction"):
        first = part["rows"][0]["seconds"]
        lines += [f"## Extraction, {part['model']}: {part['sentences']} sentences, {part['tokens']} tokens, {part['device']}", ""]
        body = [
            [r["what"], *([r["absent"], "", ""] if "absent" in r else [f"{r['seconds']:.2f}", f"{first / r['seconds']:.2f}",
             f"{r['apart']:.1e}" if "apart" in r else "0"])] for r in part["rows"]
        ]  # fmt: skip
        lines += [*table(["", "seconds", "× loop", "largest difference, share of the layer's largest entry"], body), ""]
    if part := results.get("share"):
        lines += [
            f"## bfloat16, {part['layers']} layers of {part['hidden']}, random weights; peak {part['peak'] / 1e12:.3g} TFLOP/s",
            "",
        ]
        body = [[r["batch"], f"{r['tokens a second']:,.0f}", f"{r['rate'] / 1e12:.3g}", f"{r['share']:.0%}"] for r in part["rows"]]
        lines += [*table(["sentences × tokens", "tokens a second", "TFLOP/s", "share of peak"], body), ""]
    if part := results.get("probes"):
        lines += [f"## {part['label sets']} label sets of two classes, {part['n']} × {part['d']}, six C", ""]
        body = [[r["where"], f"{r['seconds']:.2f}", f"{r['dev accuracy']:.4f}"] for r in part["rows"]]
        lines += [*table(["where", "seconds", "dev accuracy, mean"], body), ""]
    if part := results.get("grid"):
        lines += [f"## {part['classes']} classes, {part['n']} × {part['d']}, six C", ""]
        body = [
            [r["what"], *([r["absent"], ""] if "absent" in r else [f"{r['seconds']:.2f}", f"{r['dev accuracy']:.4f}"])]
            for r in part["rows"]
        ]
        lines += [*table(["", "seconds", "dev accuracy"], body), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--data", help="a folder of SentEval files; default: sentences of the built-in grammar")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("this machine has no CUDA device; --device cpu --quick tries the script without one")
    count = 64 if args.quick else 20_000
    with tempfile.TemporaryDirectory() as home:
        if args.quick:
            texts = [" ".join(["the", "cat", "sat"] * (1 + i % 5)) for i in range(count)]
        elif args.data is None:
            tasks = GrammarCorpus(home, count).tasks(None)
            texts = list(dict.fromkeys(text for task in tasks for split in task.splits.values() for text in split.texts))[:count]
        else:
            texts = sentences(args.data)[:count]
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
    parts: dict[str, Callable] = {"extraction": lambda: extraction(args, texts) | {"device": name}}
    parts |= {part.__name__: lambda part=part: part(args) | {"device": name} for part in (share, probes, grid)}
    keep(args.out, "gpu", parts, markdown)


if __name__ == "__main__":
    main()
