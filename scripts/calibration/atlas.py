"""Measures how often an atlas says of planted models what is not so, and how often it says what is so, in each of its columns.

Usage: python scripts/calibration/atlas.py OUT [--scratch DIR] [--share 1.0]

An atlas of two parts, whose rows are read together. Vectors drawn for each text: encoded, where, interacting, transfers. A small
network whose language model and classifier are planted: used. Studies and verdicts are the suite's own. Finished runs stay in
SCRATCH. OUT: README.md, atlas.csv, manifest.json.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from page import arguments, line, write
from run import COVERED, ERROR, kept
from simulation import binary_task, parts

from probing import load_encoder
from probing.behaviour.base import LanguageModel
from probing.data.task import Task
from probing.encoders.base import States
from probing.report.atlas_verdicts import adjusted, verdicts
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context, atlas, atlas_parts, causal
from probing.studies.sources import Given

LAYERS, WIDTH, WORDS = 3, 48, 50
SIZES = (200, 100, 200)
SPLITS = parts(SIZES)
atlas.SIZES["drawn"] = atlas.Size(SIZES, 2, 10, 200, 100, 16, (5, 6), False)  # as quick, of fewer sentences
COLUMNS = ("encoded", "where", "interacting", "transfers")


@dataclass
class Drawn:
    """An encoder whose layers hold a vector drawn for each text, and a property of some sentences along a direction of each layer.

    Attributes:
        signs: 1 or -1 of sentences, as word numbers.
        along: (LAYERS, WIDTH), what the property adds.
        steady: what all texts share in each layer, (LAYERS,): where it is large, any word brings most of it, and no further one
            more, so that T is larger.
        twins: whether networks with random weights hold the property as well.
    """

    seed: int
    signs: Mapping[tuple[int, ...], float]
    along: np.ndarray
    steady: tuple[float, ...] = (0.0,) * LAYERS
    twins: bool = True
    name: str = "drawn"
    origin: str = "a simulation"
    poolings: tuple[str, ...] = ("mean",)
    dims: tuple[int, ...] = (WIDTH,) * LAYERS
    layer_names: tuple[str, ...] = ("one", "two", "three")

    @property
    def description(self) -> dict[str, Any]:
        return {"kind": "drawn", "seed": self.seed, "along": float(np.abs(self.along).sum())}

    def tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        return [[int(word[1:]) for word in text.split()] for text in texts], 0

    def word_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(range(len(text.split()))) for text in texts]

    def vector(self, item: Sequence[int]) -> np.ndarray:
        """(LAYERS, WIDTH) of a text."""
        drawn = np.random.default_rng([self.seed, *item]).standard_normal((LAYERS, WIDTH))
        return drawn + np.array(self.steady)[:, None] + self.signs.get(tuple(item), 0.0) * self.along

    def forward(self, items: Sequence[Sequence[int]]) -> States:
        longest = max(map(len, items))
        x = torch.from_numpy(np.stack([self.vector(item) for item in items], 1).astype(np.float32))
        mask = torch.tensor([[k < len(item) for k in range(longest)] for item in items])
        return States([layer[:, None].expand(-1, longest, -1) for layer in x], mask)

    def release(self) -> None:
        pass

    def random_twin(self, seed: int) -> Drawn:
        """Other vectors; the property along other directions."""
        along = np.random.default_rng([self.seed, seed]).permuted(self.along, axis=1) if self.twins else 0 * self.along
        return replace(self, seed=self.seed + 1_000_000 * (seed + 1), along=along, name=f"{self.name} (random {seed})")


def sentences(rng: np.random.Generator) -> list[str]:
    """As many as `SIZES` has, of five or six words."""
    return [" ".join(f"w{k}" for k in rng.integers(0, WORDS, rng.integers(5, 7))) for _ in range(sum(SIZES))]


def measured(study: atlas.Atlas, encoder: Any, tasks: Sequence[Task], folder: Path) -> pd.DataFrame:
    """The rows of an atlas."""
    source = Given(*tasks)
    source.name = "planted"  # type: ignore[attr-defined]
    places = ResultStore(folder / "cells"), Store(folder / "store"), folder
    return study.measure(Context(lambda: encoder, lambda: list(tasks), (0,), *places, lambda: source))


def of_vectors(rng: np.random.Generator, planted: bool, folder: Path) -> pd.DataFrame:
    """Rows of the columns that vectors alone have.

    Property `coin` is in no vector, `carried` is in every layer of the networks with random weights, too, and lies along no unit;
    T is the same in all layers. `planted`: `carried` is in the last two layers of this encoder alone, each in one unit, and T is
    larger in the last layer than in the first.
    """
    corpora: list[list[Task]] = []
    signs: dict[tuple[int, ...], float] = {}
    for _ in range(2):
        tasks = []
        for name in ("coin", "carried"):
            texts = sentences(rng)
            labels = rng.integers(0, 2, len(texts))
            tasks.append(binary_task(texts, labels, SPLITS, name))
            if name == "carried":
                own = (tuple(int(word[1:]) for word in text.split()) for text in texts)
                signs |= dict(zip(own, (2.0 * labels - 1).tolist(), strict=True))
        corpora.append(tasks)
    along = rng.standard_normal((LAYERS, WIDTH))
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    if planted:
        along = 2 * np.eye(WIDTH)[rng.integers(0, WIDTH, LAYERS)] * np.array([0, 1, 1])[:, None]
    encoder = Drawn(int(rng.integers(2**30)), signs, along, (0.0, 0.0, 3.0 * planted), twins=not planted)
    study = atlas.Atlas(size="drawn", columns=list(COLUMNS), corpora={"other": Given(*corpora[1])})
    return measured(study, encoder, corpora[0], folder)


NOUNS = ("key", "dog", "cat", "tree", "lamp", "boat")


class Reader(LanguageModel):
    """Prefers `open` to `opens` behind a state of the last layer on one side of a plane: across the means of singular and plural
    subjects, and a random direction half as long, by which other directions, too, cost it points."""

    limit = None

    def __init__(self, encoder: Any, rng: np.random.Generator):
        super().__init__(encoder)
        texts = [f"the {noun}{end}" for end in ("", "s") for noun in NOUNS]
        x = torch.stack([encoder.forward([item]).layers[-1][0, -1] for item in encoder.tokenize(texts)[0]])
        one, more = x[: len(NOUNS)].mean(0), x[len(NOUNS) :].mean(0)
        drawn = torch.from_numpy(rng.standard_normal(x.shape[1]).astype(np.float32))
        self.axis = (more - one) / (more - one).norm() + drawn / drawn.norm() / 2
        self.middle = x.mean(0)
        self.forms = [encoder.tokenize([form])[0][0][0] for form in ("open", "opens")]

    def log_probabilities(self, items: Any) -> Any:
        network = self.encoder.network
        with torch.inference_mode():
            v = (network(*network.batch(items))[-1] - self.middle) @ self.axis
        logits = torch.zeros(*v.shape, network.embedding.num_embeddings)
        logits[..., self.forms[0]], logits[..., self.forms[1]] = 100 * v, -100 * v
        rows = logits.log_softmax(-1)
        rows = torch.cat([torch.full_like(rows[:, :1], torch.nan), rows[:, :-1]], 1)
        return [one[: len(item)] for one, item in zip(rows, items, strict=True)]


TREE = """\
1 the the DET _ Definite=Def 2 det _ _
2 {noun}{plural} {noun} NOUN _ Number={number} 3 nsubj _ _
3 {verb} open VERB _ Mood=Ind|Number={number}|Person=3|Tense=Pres|VerbForm=Fin 0 root _ _
4 old old ADJ _ _ 5 amod _ _
5 things thing NOUN _ Number=Plur 3 obj _ _

""".replace(" ", "\t")


def treebank(rng: np.random.Generator, folder: Path) -> Path:
    """A treebank of `the dogs open old things`, in which the verb agrees with its subject."""
    forms = ({"number": "Sing", "plural": "", "verb": "opens"}, {"number": "Plur", "plural": "s", "verb": "open"})
    for split, n in (("train", 60), ("dev", 40), ("test", 40)):
        drawn = zip(rng.choice(NOUNS, n), rng.integers(0, 2, n), strict=True)
        (folder / f"x-{split}.conllu").write_text("".join(TREE.format(noun=noun, **forms[k]) for noun, k in drawn))
    return folder


def marked(rng: np.random.Generator) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Sentences with `up` or `down` and `left` or `right` at random places; whether they have the second of each pair."""
    texts, which = [], rng.integers(0, 2, (2, sum(SIZES)))
    for text, up, left in zip(sentences(rng), *which, strict=True):
        words = text.split()
        for word in (("up", "down")[up], ("left", "right")[left]):
            words.insert(int(rng.integers(len(words) + 1)), word)
        texts.append(" ".join(words))
    return texts, which[0], which[1]


def of_network(rng: np.random.Generator, strength: float, folder: Path) -> pd.DataFrame:
    """Rows of the column *used*, of a network with random weights.

    Its language model reads the number of the subject, and not `subj_number`, whose labels are coins. A classifier fitted on its
    last layer tells two words, as `topic` does; not two other ones (`unread`, which is encoded), nor the coins.
    """
    options = {"embedding_dim": 16, "channels": 24, "layers": 1, "buckets": 2000, "init_seed": int(rng.integers(2**30))}
    encoder = load_encoder("gated-cnn", reads="forward", **options)
    number = strength * torch.from_numpy(rng.standard_normal(16).astype(np.float32))  # shared by the words of a number
    with torch.no_grad():
        for sign, words in ((1, [f"{noun}s" for noun in NOUNS] + ["things", "open"]), (-1, [*NOUNS, "opens"])):
            for [token] in encoder.tokenize(words)[0]:
                encoder.network.embedding.weight[token] += sign * number
    reader = Reader(encoder, rng)
    for module in (atlas_parts, causal):
        module.language_model = lambda encoder: reader
    coins = [f"{text} {rng.choice(NOUNS)}{rng.choice(['', 's'])}" for text in sentences(rng)]
    (first, topic, _), (second, _, unread), (data, labels, _) = marked(rng), marked(rng), marked(rng)
    tasks = [binary_task(coins, rng.integers(0, 2, len(coins)), SPLITS, "subj_number")]
    tasks += [binary_task(first, topic, SPLITS, "topic"), binary_task(second, unread, SPLITS, "unread")]
    more = {"treebank": str(treebank(rng, folder)), "classifier": Given(binary_task(data, labels, SPLITS, "data"))}
    return measured(atlas.Atlas(size="drawn", columns=["used"], **more), encoder, tasks, folder)


PARTS: dict[str, tuple[Callable[..., pd.DataFrame], Any, int]] = {
    "vectors": (of_vectors, False, 200),
    "network": (of_network, 0.02, 200),
    "planted vectors": (of_vectors, True, 12),
    "planted network": (of_network, 0.2, 30),
}
"""Which rows, an option of theirs, and how many runs."""


def lines_of(part: str, run: int) -> list[dict[str, str]]:
    """The verdicts of one run, a line for each property, of its rows as they are read again."""
    work, option, _ = PARTS[part]
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.csv"
        work(np.random.default_rng([run, *part.encode()]), option, Path(folder)).to_csv(rows, index=False)
        return verdicts(adjusted(pd.read_csv(rows))).to_dict("records")


def main() -> None:
    args = arguments()
    made, seconds = {part: [] for part in PARTS}, 0.0
    for part, own in made.items():
        for run in range(max(2, round(PARTS[part][2] * args.share))):
            lines, spent = kept(args.scratch, f"atlas {part} {run}", 1, lambda p=part, r=run: lines_of(p, r))
            own.append({line["property"]: line for line in lines})
            seconds += spent
    write(args.out, "atlas", HEAD, counted(made), seconds)


def counted(made: Mapping[str, Sequence[Mapping[str, Mapping[str, str]]]]) -> list[dict[str, Any]]:
    """The lines of the result: false verdicts of each column and of all, and true ones."""

    def of(part: str, names: Sequence[str], column: str, words: str = "") -> list[bool]:
        """Of each run whether the column says yes, in these words, of one of these properties."""
        lines = [[run[name] for name in names] for run in made[part]]
        return [any(one[column] == "yes" and words in f"; {one[f'{column}_words']}" for one in run) for run in lines]

    yes = {column: of("vectors", ["coin", "carried"], column) for column in COLUMNS}
    pairs, logit = of("network", ["subj_number"], "used", LOST), of("network", ["subj_number", "unread"], "used", FOLLOWS)
    yes["used"] = of("network", ["subj_number", "unread"], "used")
    either = [any(run) for run in zip(*yes.values(), strict=False)]  # as many as both parts have
    false = [
        *((f"{column}, anywhere", PLANTED[column][0], runs) for column, runs in yes.items()),
        ("used: points lost on pairs", "a property in no state, pairs of another one", pairs),
        ("used: logit follows it", "a property that the classifier ignores, and one in no state", logit),
        ("any of the five columns, anywhere", "an atlas of both parts", either),
        ("used: no", "number, which the language model reads", [run["Number"]["used"] == "no" for run in made["network"]]),
    ]
    true = [
        *((column, PLANTED[column][1], of("planted vectors", ["carried"], column)) for column in COLUMNS),
        ("used: points lost", "number, in words as a large part of them", of("planted network", ["Number"], "used", LOST)),
        ("used: points lost", "number, in words as a small part of them", of("network", ["Number"], "used", LOST)),
        ("used: logit follows it", "the classifier's own classes", of("network", ["topic"], "used", FOLLOWS)),
    ]
    lines = [(ERROR, *one) for one in false] + [(COVERED, f"{one[0]} (right there)", *one[1:]) for one in true]
    return [line(statement, about, kind, sum(runs), len(runs)) for kind, statement, about, runs in lines]


LOST, FOLLOWS = "; used: ", "logit follows it in"  # words of a yes on pairs, and on a classifier
PLANTED = {
    "encoded": ("in no vector; or in those of random weights, too", "in two of three layers"),
    "where": ("the same, along no unit", f"in one unit of {WIDTH}"),
    "interacting": ("T the same in all layers", "T twice as large in the last layer"),
    "transfers": ("in no vector; or in those of random weights, too", "in two of three layers, on both corpora"),
    "used": ("pairs and a classifier, neither of them about the property", ""),
}
"""What is planted where a yes is false, and where it is true."""

HEAD = """# Calibration of the atlas

Error: share of atlases that say it though it is not so (promised: at most 5 % of the five columns together, 1 % of each). In the
column of coverage: share of atlases that say it where it is so. In brackets the 95 % interval of the share itself. An atlas has two
parts. Vectors drawn for each text, of two properties of 200 train, 100 dev and 200 test sentences, in three layers of 48 units,
beside two random twins and another corpus; and a gated CNN with random weights, of which a language model and a fitted classifier
read what is planted: 80 pairs, 200 random directions. Rows and verdicts are those of `probing atlas`.

    python scripts/calibration/atlas.py results/calibration-atlas"""


if __name__ == "__main__":
    main()
