"""Times the structural probe over layers and ranks at once against one fit after the other, in one process.

Usage: python scripts/benchmarks/bench_structural.py [--sentences 1000] [--width 384] [--layers 7] [--ranks 64] [--repeats 3]

One epoch each, on planted trees with lengths like those of EWT. `alone`: the same code, one layer and rank after the other. `loop`:
the obvious program, also one kind after the other: sentences padded to the longest of 20, differences of all pairs, autograd,
torch's Adam. Prints processor seconds (median), their ratio, and the seconds of an epoch of EWT's 204,577 words.
"""

import argparse

import numpy as np
import torch
from timing import Timed

from probing.data.trees import Trees, ancestors
from probing.probes.structural import KINDS, Schedule, fit, starting_map


def corpus(rng, n):
    """Random trees with lengths like those of EWT, each word below one of the five words before it."""
    lengths = np.clip(np.exp(rng.normal(2.5, 0.8, n)).astype(int), 1, 80)
    heads = [np.array([-1, *(k - rng.integers(1, min(k, 5) + 1) for k in range(1, size))]) for size in lengths]
    words = int(lengths.sum())
    return Trees(np.concatenate(heads), np.r_[0, np.cumsum(lengths)], *np.zeros((2, words), bool))


def vectors(rng, trees, width):
    mixing = rng.standard_normal((80, width)) / 4
    x = rng.standard_normal((len(trees.heads), width))
    for _, words in trees.by_length():
        x[words.ravel()] += ancestors(trees.heads[words]).reshape(-1, words.shape[1]) @ mixing[: words.shape[1]]
    return x.astype(np.float32)


def loop(x, trees, kind, rank, seed):
    """One epoch of one probe: padded batches, all differences, autograd."""
    B = starting_map(kind, rank, x.shape[1], seed).requires_grad_()
    optimiser, rng, x = torch.optim.Adam([B], lr=1e-3), np.random.default_rng([seed, 11]), torch.from_numpy(x)
    order = rng.permutation(len(trees))
    for k in range(0, len(order), 20):
        rows = order[k : k + 20].tolist()
        n = int(trees.lengths[rows].max())
        h, gold, inside = torch.zeros(len(rows), n, x.shape[1]), torch.zeros(len(rows), n, n), torch.zeros(len(rows), n)
        for number, row in enumerate(rows):
            size = int(trees.lengths[row])
            h[number, :size], inside[number, :size] = x[trees.starts[row] : trees.starts[row + 1]], 1
            gold[number, :size, :size] = torch.from_numpy(trees.distances[row])
        z, size = h @ B.T, inside.sum(1)
        if kind == "depth":
            depths = torch.zeros(len(rows), n)
            depths[inside > 0] = torch.from_numpy(
                np.concatenate([trees.depths[trees.starts[r] : trees.starts[r + 1]] for r in rows])
            ).float()
            loss = ((z.square().sum(2) - depths).abs() * inside).sum(1) / size
        else:
            distances = (z[:, :, None] - z[:, None]).square().sum(3)
            loss = ((distances - gold).abs() * inside[:, :, None] * inside[:, None]).sum((1, 2)) / size**2
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    return B.detach().numpy()


def main():
    parser = argparse.ArgumentParser()
    for name, value in (("sentences", 1000), ("width", 384), ("layers", 7), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--ranks", type=int, nargs="+", default=[64])
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    train, dev = corpus(rng, args.sentences), corpus(rng, 20)
    layers = [(vectors(rng, train, args.width), vectors(rng, dev, args.width)) for _ in range(args.layers)]
    once, probes = Schedule(epochs=1), [(kind, rank) for kind in KINDS for rank in args.ranks]
    _ = train.distances, dev.distances
    calls = {
        "together": lambda: fit(layers, (train, dev), args.ranks, 0, once),
        "alone": lambda: [[fit([layer], (train, dev), [rank], 0, once)[0] for rank in args.ranks] for layer in layers],
        "loop": lambda: [{probe: loop(layer[0], train, *probe, 0) for probe in probes} for layer in layers],
    }
    timed = Timed()
    for number in range(args.repeats):
        made = timed.repeat(calls, number)
    for ours, theirs in zip(made["together"], made["loop"], strict=True):
        for probe, B in theirs.items():
            assert np.abs(ours[probe].B - B).mean() < 1e-4, probe  # a sign that rounding turns moves one entry by twice the rate
    words = len(train.heads)
    seconds = {name: float(np.median(values)) for name, values in timed.cpu.items()}
    print(f"{args.layers} layers, ranks {args.ranks}, {len(train)} sentences, {words} words, width {args.width}; one epoch")
    for name, value in seconds.items():
        of_ewt = value * 204_577 / words
        print(f"{name}: {value:.2f} s, {value / seconds['together']:.2f} of together, {of_ewt:.1f} s for 204,577 words")


if __name__ == "__main__":
    main()
