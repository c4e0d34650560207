"""The report of `bench_table.py`: seconds, ratios and agreement by task and over all tasks."""

import json
import statistics
import sys
from pathlib import Path

from sixty_lines import GRID

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import table

AGREEMENT = ("share of cells that agree", "same C", "agree at the same C", "dev at least as high")


def summary(record, names: list[str], repeats: int, flops: float) -> list[dict]:
    """A line for each task, and lines for their sums: medians over repeats, and the values of all repeats."""
    lines = []
    groups = [[name] for name in names] + [names] * (len(names) > 1)
    if "word_content" in names and len(names) > 1:
        groups.append([name for name in names if name != "word_content"])
    for group in groups:
        every: dict[str, list[float]] = {}
        for repeat in range(repeats):
            peak = statistics.mean(record.get(f"{repeat} peak {when}")["gflops"] for when in ("before", "after"))
            seconds = dict.fromkeys(
                ("loop", "fits", "script", "script wall", "extraction", "ours", "ours wall", "second", "limit"), 0.0
            )
            worst, equal, cells = 0.0, 0, 0
            same_C, same_C_equal, no_worse_on_dev = 0, 0, 0
            for name in (f"{repeat} {task}" for task in group):
                fits = {key: stage for key, stage in record.stages.items() if key.startswith(f"{name} script fit ")}
                ours, size = record.get(f"{name} ours"), record.get(f"{name} size")
                script = [record.get(f"{name} script loop"), *fits.values()]
                seconds["loop"] += script[0]["cpu"]
                seconds["fits"] += sum(stage["cpu"] for stage in fits.values())
                seconds["script"] += sum(stage["cpu"] for stage in script)
                seconds["script wall"] += sum(stage["wall"] for stage in script)
                seconds["extraction"] += ours["extraction"]
                seconds["ours"] += ours["cpu"]
                seconds["ours wall"] += ours["wall"]
                seconds["second"] += record.get(f"{name} another probe")["cpu"]
                seconds["limit"] += size["tokens"] * flops / 1e9 / peak
                for key, stage in fits.items():
                    accuracy, _, C, on_dev = ours["cells"][key.removeprefix(f"{name} script fit ")]
                    gap = abs(stage["accuracy"] - accuracy)
                    worst, cells = max(worst, gap), cells + 1
                    agrees = gap <= max(0.001, 1 / size["test"]) + 1e-9
                    equal += agrees
                    same_C += C == stage["C"]
                    same_C_equal += agrees and C == stage["C"]
                    no_worse_on_dev += on_dev >= stage["dev_accuracy"] - 1e-9
            figures = {"ratio": seconds["script"] / seconds["ours"], "limit ratio": seconds["script"] / seconds["limit"]}
            figures["share of cells that agree"] = equal / cells
            figures |= {"same C": same_C / cells, "agree at the same C": same_C_equal / max(1, same_C)}
            figures["dev at least as high"] = no_worse_on_dev / cells
            figures["largest difference"] = worst
            figures["vectors"] = max(record.get(f"{repeat} {task} vectors")["largest"] for task in group)
            for key, value in (seconds | figures).items():
                every.setdefault(key, []).append(value)
        what = group[0] if len(group) == 1 else "all" if group == names else "without word_content"
        lines.append({"what": what} | {k: statistics.median(v) for k, v in every.items()} | {"repeats": every})
    return lines


def _about(path) -> str:
    """Commit, machine and GEMM rate of an earlier table."""
    earlier = json.loads(path.read_text())
    peaks = [stage["gflops"] for name, stage in earlier["stages"].items() if " peak " in name]
    return f"commit {earlier['commit'][:8]}, {earlier['machine']}, GEMM {min(peaks):.1f}-{max(peaks):.1f} GFLOP/s"


def markdown(lines: list[dict], record, args, flops: float) -> str:
    peaks = [record.get(f"{repeat} peak {when}")["gflops"] for repeat in range(args.repeats) for when in ("before", "after")]
    unchanged = [record.get(f"{repeat} unchanged") for repeat in range(args.repeats)]
    header = "task | script: loop | fits | **all** | ours: extraction | fits | **all** | **ratio** | spread | limit | its ratio"
    header += (
        " | another probe | cells that agree | same C | agree at the same C | ours at least as high on dev | largest difference"
    )
    wall = next(line for line in lines if line["what"] == ("all" if len(lines) > 1 else lines[0]["what"]))
    text = [
        "# The whole table, from nothing",
        "",
        f"Every layer and pooling × {len(GRID)} values of C, {' '.join([args.encoder, *args.option])}; "
        f"{100 * args.fraction:g} % of the sentences; "
        f"processor seconds on one thread, median of {args.repeats}. Limit: the distinct sentences at the GEMM rate, probes for "
        "nothing.",
        "Cells agree where test accuracies differ by 0.1 point or one sentence at most; the script tries every C, ours stops its "
        "path when dev falls. Another probe: the same grid on raw features, from the store; a call of the model would have raised.",
        "",
    ]
    rows = []
    for line in lines:
        ratios, fits = line["repeats"]["ratio"], line["ours"] - line["extraction"]
        seconds = (line["loop"], line["fits"], line["script"], line["extraction"], fits, line["ours"])
        rows.append([
            line["what"], *(f"{value:.1f}" for value in seconds), f"**{line['ratio']:.2f}**",
            f"{min(ratios):.2f}-{max(ratios):.2f}", f"{line['limit']:.1f}", f"{line['limit ratio']:.2f}", f"{line['second']:.1f}",
            *(f"{100 * line[name]:.0f} %" for name in AGREEMENT), f"{100 * line['largest difference']:.2f}",
        ])  # fmt: skip
    text += table(header.split(" | "), rows)
    if args.script is not None:
        text += ["", f"The script's seconds and accuracies are those of an earlier table: {_about(args.script)}."]
    spent = ", ".join(f"{stage['cpu']:.1f} s (wall {stage['wall']:.1f} s)" for stage in unchanged)
    text += [
        "",
        f"- Wall, {wall['what']}: script {wall['script wall']:.0f} s, ours {wall['ours wall']:.0f} s.",
        f"- The first request unchanged, data read and encoder hashed again: {spent}.",
        f"- GEMM {min(peaks):.1f}-{max(peaks):.1f} GFLOP/s; {flops / 1e6:.1f} MFLOP a token.",
        f"- Largest difference of a vector, 256 test sentences a task: {max(line['vectors'] for line in lines):.1e}.",
    ]
    return "\n".join(text) + "\n"
