"""Error of T by model rows on games of random networks, and exact against learned_p.

Usage: python scripts/results/interaction_estimators.py OUT [--players 18,20,24] [--seeds 2] [--repeats 12] [--shapiq 3]
Games: a random attention net (two layers, read at its first token) and a random tanh network, with segments of 4-9 of 18-24
players, small enough for the exact T. Error: root mean square over repeats, relative to T. Compared at budgets from the minimum to
16 times as much:

    sampled, regression       ours
    permutation               the paper's sampler on all intervals
    permutation_told          the same, given the best and worst partitions, on their parts only
    shapiq:NAME               approximators of shapiq on the game of one block and the outside players, one for each interval

"Times fewer rows" is c^2 / (error^2 rows), with error = c / sqrt(rows) fitted to the other method (its geometric mean); its best
approximator stands for shapiq on each game. `learned_p` runs at its published settings on 8-12 players.
OUT: errors.csv, learned.csv, README.md, manifest.json.
"""

import argparse
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from probing.interactions import segment_interaction
from probing.interactions.baselines import APPROXIMATORS, approximated, learned_p, told
from probing.interactions.intervals import minimum_rows
from probing.provenance import versions
from probing.studies.accuracy import BASELINES, times_fewer

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, table, write_json

FEWER = "Times fewer rows at equal error than the method named, median over games [smallest, largest]."
SEGMENTS = {12: (4, 8), 18: (6, 10), 20: (7, 12), 22: (8, 15), 24: (8, 17)}


class Attention:
    """Attention in two layers over random words and a first token that is always present, whose state is read."""

    def __init__(self, n_players: int, seed: int, d: int = 8):
        rng = np.random.default_rng(seed)
        self.n_players, words = n_players, rng.normal(size=(n_players + 1, d))
        (q, k, v), (self.q, self.k, self.v) = rng.normal(size=(2, 3, d, d)) / np.sqrt(d)
        self.attend = np.exp((words @ q) @ (words @ k).T / np.sqrt(d))  # (token, attended)
        self.carried = np.einsum("ta,ad->atd", self.attend, words @ v).reshape(n_players + 1, -1)
        self.words, self.out = words, rng.normal(size=d)

    def __call__(self, coalitions):
        parts = np.array_split(coalitions, max(1, len(coalitions) // 4096))
        return np.concatenate([self._run(np.insert(part.astype(float), 0, 1.0, axis=1)) for part in parts])

    def _run(self, there):
        h = (there @ self.carried).reshape(len(there), *self.words.shape) / (there @ self.attend.T)[:, :, None]
        h = np.tanh(self.words + h)  # (rows, tokens, d)
        weight = np.exp(((h @ self.k) @ (h[:, 0] @ self.q)[:, :, None])[:, :, 0] / np.sqrt(h.shape[2])) * there
        mixed = np.einsum("rt,rtd->rd", weight / weight.sum(1, keepdims=True), h) @ self.v
        return np.tanh(h[:, 0] + mixed) @ self.out


class Network:
    """Two random tanh layers on the players present."""

    def __init__(self, n_players: int, seed: int, d: int = 16):
        rng = np.random.default_rng(seed)
        self.n_players, self.bias = n_players, rng.normal(size=(2, d))
        self.first, self.second = rng.normal(size=(n_players, d)) / 2, rng.normal(size=(d, d)) / np.sqrt(d)
        self.out = rng.normal(size=d)

    def __call__(self, coalitions):
        return np.tanh(np.tanh(coalitions @ self.first + self.bias[0]) @ self.second + self.bias[1]) @ self.out


GAMES = {"attention": Attention, "tanh network": Network}


def ours(game, segment, method, budget, repeats):
    """T of each repeat, and mean model rows."""
    results = [segment_interaction(game, segment, method, budget, seed, listed=1) for seed in range(repeats)]
    return [r.T for r in results], np.mean([r.n_evaluations for r in results])


def repeated(estimate, repeats, *arguments):
    """T of each repeat of a baseline, and mean model rows."""
    estimates, rows = zip(*(estimate(*arguments, seed) for seed in range(repeats)), strict=True)
    return estimates, np.mean(rows)


def errors(kind: str, n: int, seed: int, repeats: int, shapiq_repeats: int) -> list[dict]:
    game, segment = GAMES[kind](n, seed), SEGMENTS[n]
    exact = segment_interaction(game, segment, "exact", budget=2**24, listed=1)
    m = segment[1] - segment[0]
    least = minimum_rows(m, n - m, "sampled")
    lines = []
    for budget in (least, 4 * least, 16 * least):
        runs = {method: ours(game, segment, method, budget, repeats) for method in ("sampled", "regression", "permutation")}
        known = exact.max_partition, exact.min_partition
        runs["permutation_told"] = repeated(told, repeats, game, segment, *known, budget)
        for name in APPROXIMATORS if shapiq_repeats else ():
            runs[f"shapiq:{name}"] = repeated(approximated, shapiq_repeats, game, segment, name, budget)
        for method, (estimates, rows) in runs.items():
            error = np.sqrt(np.mean(np.square(np.array(estimates) - exact.T))) / exact.T
            bias = (np.mean(estimates) - exact.T) / exact.T
            lines.append({"game": kind, "n": n, "m": m, "seed": seed, "exact_rows": exact.n_evaluations, "T": exact.T})
            lines[-1] |= {"method": method, "budget": budget, "rows": rows, "error": error, "bias": bias}
    return lines


def ratios(frame: pd.DataFrame) -> pd.DataFrame:
    """Times fewer rows than each baseline, for each game, budget and method of ours."""
    times = times_fewer(frame, ["game", "n", "seed"], "error")
    steps = times.groupby(["game", "n", "seed"]).budget.rank("dense")
    return times.assign(step=steps.map({1: "minimum", 2: "4 x minimum", 3: "16 x minimum"}))


def learned(kind: str, n: int, seed: int) -> dict:
    game, start = GAMES[kind](n, 1000 + seed), (n - 4) // 2
    exact = segment_interaction(game, (start, start + 4), listed=1)
    r = learned_p(game, (start, start + 4), "accuracy", seed)
    line = {"game": kind, "n": n, "seed": seed, "T": exact.T, "exact_rows": exact.n_evaluations, "learned_rows": r.n_requested}
    line |= {"times_fewer_rows": r.n_requested / exact.n_evaluations}
    line |= {"error_soft": abs(r.T_soft - exact.T) / exact.T, "error_thresholded": abs(r.T_thresholded - exact.T) / exact.T}
    return line | {"same_partitions": (r.max_partition, r.min_partition) == (exact.max_partition, exact.min_partition)}


def markdown(times: pd.DataFrame, compared: pd.DataFrame) -> str:
    rows = []
    for (method, step), part in times.groupby(["method", "step"], sort=False):
        shown = [f"{part[b].median():,.0f} [{part[b].min():,.1f}, {part[b].max():,.0f}]" for b in BASELINES]
        rows.append([method, step, len(part), *shown])
    lines = ["# Rows for an error of T", "", FEWER, "", *table(["ours", "budget", "games", *BASELINES], rows)]
    rows = []
    for (kind, n), part in compared.groupby(["game", "n"]):
        mid = part.median(numeric_only=True)
        cells = [f"{mid[name]:,.0f}" for name in ("exact_rows", "learned_rows", "times_fewer_rows")]
        cells += [f"{mid.error_soft:.3f}", f"{mid.error_thresholded:.4f}", f"{part.same_partitions.mean():.0%}"]
        rows.append([kind, n, len(part), *cells])
    lines += ["", "# Exact against learned_p at its published settings (accuracy)", ""]
    lines += ["Medians over games; errors relative to T.", ""]
    header = "game | n | games | exact rows | learned_p rows | times fewer | error, soft | thresholded | both partitions right"
    return "\n".join(lines + table(header.split(" | "), rows)) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--players", default="18,20,24")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--shapiq", type=int, default=3)
    args = parser.parse_args()
    start, lines = time.time(), []
    args.out.mkdir(parents=True, exist_ok=True)
    for n in map(int, args.players.split(",")):
        for kind in GAMES:
            for seed in range(args.seeds):
                lines += errors(kind, n, seed, args.repeats, args.shapiq)
                print(kind, n, seed, f"{time.time() - start:.0f} s", flush=True)
    frame, times = pd.DataFrame(lines), ratios(pd.DataFrame(lines))
    compared = pd.DataFrame([learned(kind, n, seed) for kind in GAMES for n in (8, 10, 12) for seed in range(5 * args.seeds)])
    frame.round(8).to_csv(args.out / "errors.csv", index=False)
    compared.round(8).to_csv(args.out / "learned.csv", index=False)
    (args.out / "README.md").write_text(markdown(times, compared), encoding="utf-8")
    record = manifest(wall_seconds=round(time.time() - start), versions=versions() | {"shapiq": version("shapiq")})
    write_json(args.out / "manifest.json", record)


if __name__ == "__main__":
    main()
