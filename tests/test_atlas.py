"""The atlas: a planted model comes out as planted, in each column; verdicts by stated rules; the command and its files."""

import html
import json
import re
from dataclasses import dataclass

import check_atlas
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ortho_group
from test_properties import SINGULAR, Reader, treebank

from probing import load_encoder
from probing.commands.atlas import arguments
from probing.data.task import Task
from probing.encoders.base import States
from probing.errors import ConfigError
from probing.evaluation.paired_tests import holm
from probing.report import atlas as report
from probing.report.atlas_verdicts import adjusted, facets, sentence, verdicts
from probing.report.summary import ranges
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context, atlas_parts, causal
from probing.studies.atlas import SIZES, Atlas
from probing.studies.atlas_cost import forecast
from probing.studies.atlas_parts import Parts
from probing.studies.atlas_rows import about
from probing.studies.sources import Given

WIDTH, UNIT = 64, 3


@dataclass
class Ordered:
    """Layer 0 holds word vectors; layers 1 and 2, in one unit or turned into all of them, whether `left` stands before `right`."""

    spread: bool = False
    name: str = "ordered"
    origin: str = "the folder /srv/someone/ordered"
    poolings: tuple = ("mean",)
    dims: tuple = (WIDTH,) * 3
    layer_names: tuple = ("words", "one", "two")

    @property
    def description(self):
        return {"kind": self.name, "spread": self.spread}

    def tokenize(self, texts):
        return [[["left", "right"].index(w) if w in ("left", "right") else 2 + int(w[1:]) for w in t.split()] for t in texts], 0

    def word_ids(self, texts):
        return [list(range(len(text.split()))) for text in texts]

    def forward(self, items):
        table = torch.randn(60, WIDTH, generator=torch.Generator().manual_seed(0))
        turn = torch.tensor(ortho_group.rvs(WIDTH, random_state=0), dtype=torch.float32) if self.spread else torch.eye(WIDTH)
        longest = max(map(len, items))
        words, upper = torch.zeros(len(items), longest, WIDTH), torch.zeros(len(items), longest, WIDTH)
        for k, item in enumerate(items):
            words[k, : len(item)] = table[item]
            own = words[k, : len(item)].sum(0) / len(item) ** 0.5
            if {0, 1} <= set(item):
                own[UNIT] = 0.5 * own[UNIT] + (1.0 if item.index(0) < item.index(1) else -1.0)
            upper[k, : len(item)] = own @ turn
        mask = torch.tensor([[i < len(item) for i in range(longest)] for item in items])
        return States([words, upper, upper], mask)

    def release(self):
        pass

    def random_twin(self, seed):
        return None


def tasks(seed=0, n=(300, 100, 200)):
    """order: which of two words, among six others, comes first; noise: labels without a reason, of the same sentences."""
    rng = np.random.default_rng(seed)
    texts, labels, splits = [], [], []
    for split, size in zip(("train", "dev", "test"), n, strict=True):
        for _ in range(size):
            words = [f"w{k}" for k in rng.integers(0, 50, 6)]
            i, j = sorted(rng.choice(6, 2, replace=False))
            first = bool(rng.integers(2))
            words[i], words[j] = ("left", "right") if first else ("right", "left")
            texts.append(" ".join(words))
            labels.append("before" if first else "after")
            splits.append(split)
    noise = rng.permutation(labels).tolist()
    return [Task.from_lists(texts, own, splits=splits, name=name) for name, own in (("order", labels), ("noise", noise))]


def context(encoder, given, tmp_path):
    source = Given(*given)
    source.name = "toy"
    return Context(
        lambda: encoder,
        lambda: list(given),
        (0,),
        ResultStore(tmp_path / "cells"),
        Store(tmp_path / "store"),
        tmp_path,
        lambda: source,
    )


def lines_of(frame, folder):
    frame.to_csv(folder / "rows.csv", index=False)
    rows = pd.read_csv(folder / "rows.csv")
    return {line["property"]: line for line in verdicts(adjusted(rows)).to_dict("records")}, rows


@pytest.mark.parametrize("spread", [False, True])
def test_a_property_planted_in_a_layer_comes_out_as_planted_and_noise_does_not(tmp_path, spread):
    columns = ["encoded", "where", "interacting", "transfers"] if spread else ["encoded", "where", "interacting"]
    other = Given(*tasks(1))
    study = Atlas(columns=columns, corpora={"other": other} if spread else None)
    lines, rows = lines_of(study.measure(context(Ordered(spread), tasks(), tmp_path)), tmp_path)
    order, noise = lines["order"], lines["noise"]
    assert order["encoded"] == "yes" and order["encoded_words"].startswith(
        "encoded from layer 1 on above every floor (random weights are not among the floors), "
    )
    assert noise["encoded"] == "not shown" and noise["encoded_words"].startswith("not shown to be encoded")
    assert order["where"] == ("not shown" if spread else "yes") and noise["where"] == "not shown"
    units = facets(rows[(rows.property == "order") & (rows.metric == "best units")].facets.iloc[0])
    assert spread or json.loads(units["first"])[0] == UNIT
    T = rows[(rows.property == "order") & (rows.column == "interacting")].set_index("layer").value
    assert T.loc[1] == pytest.approx(T.loc[2].iloc[0]), "the two layers are one"
    if spread:
        assert order["transfers"] == "yes" and noise["transfers"] == "not shown"
        assert "transfers to other (" in order["transfers_words"]
    study.report(rows, tmp_path / "report")
    each_number_opens_its_card((tmp_path / "report" / "atlas.html").read_text(encoding="utf-8"), rows)
    page = (tmp_path / "report" / "atlas.html").read_text()
    assert sentence(order) in html.unescape(re.sub("<[^>]+>", "", page))
    assert not re.search(r"(src|href)=.?https?:|@import|url\(http", page), "it loads nothing"
    twin = json.loads((tmp_path / "report" / "atlas.json").read_text())
    assert len(twin["rows"]) == len(rows) == len(pd.read_parquet(tmp_path / "report" / "atlas.parquet"))
    assert check_atlas.disagreements(tmp_path / "report") == []
    assert twin["schema"] == report.SCHEMA and {line["property"] for line in twin["lines"]} == {"order", "noise"}


def test_a_full_atlas_has_the_description_length_at_the_dev_best_layer_alone(tmp_path):
    study = Atlas(size="full", columns=["encoded"])
    _, rows = lines_of(study.measure(context(Ordered(), tasks(), tmp_path)), tmp_path)
    best = rows[(rows.metric == "accuracy") & (rows.role == "best")].set_index("property")
    code = rows[rows.metric == "compression"].set_index("property")
    assert code.layer.to_dict() == best.layer.to_dict() and best.n.tolist() == [200, 200], "all of the data"
    assert code.value.order > 2 > 1.1 > code.value.noise and code.n.tolist() == [300, 300]
    assert sum(b"mdl" in path.read_bytes() for path in tmp_path.rglob("*.json")) == 2, "no other layer has one"


class Counted(Ordered):
    """The number of words in one unit of the layers above the words."""

    def forward(self, items):
        words, *upper = super().forward(items).layers
        for layer in upper:
            layer[..., UNIT] = torch.tensor([len(item) for item in items])[:, None]
        mask = torch.tensor([[k < len(item) for k in range(words.shape[1])] for item in items])
        return States([words, *upper], mask)


def test_a_property_that_the_length_tells_is_not_shown_to_transfer(tmp_path):
    """Every floor stands against the score on the other corpus, not counts of words alone."""
    rng, made = np.random.default_rng(0), []
    for _ in range(2):
        long = rng.integers(0, 2, 600)
        texts = [" ".join(f"w{k}" for k in rng.integers(0, 50, 8 if one else 6)) for one in long]
        splits = ["train"] * 300 + ["dev"] * 100 + ["test"] * 200
        made.append(Task.from_lists(texts, [str(one) for one in long], splits=splits, name="long"))
    study = Atlas(columns=["transfers"], corpora={"other": Given(made[1])})
    lines, rows = lines_of(study.measure(context(Counted(), made[:1], tmp_path)), tmp_path)
    [score] = rows[rows.metric == "accuracy"].itertuples()
    assert score.value == 1 and score.against == "length" and lines["long"]["transfers"] == "not shown"


def each_number_opens_its_card(page, rows):
    made = json.loads(re.search(r'<script type="application/json" id="cards">(.*?)</script>', page, re.S)[1])
    assert "/srv" not in page and "/srv" not in rows.to_csv() and "…/ordered" in page, "no path of this machine"
    cards = {key: dict(made["lines"][k] for k in numbers) for key, numbers in made["cards"].items()}
    opened = {html.unescape(key): text for key, text in re.findall(r'data-cell="([^"]+)"[^>]*>([^<]*)<', page)}
    assert set(opened) <= set(cards) and {
        "ordered, order: accuracy, layer 1",
        "ordered, order: less rotated, layer 1, chosen",
    } <= set(opened)
    assert ["adjusted over" in card["test"] for key, card in cards.items() if "order: best units" in key] == [True]
    for row in rows[rows.role == "layer"].itertuples():
        card = cards[f"ordered, {row.property}: {row.metric}, layer {int(row.layer)}"]
        assert card["n"] == str(int(row.n)) and ("scores" if row.column == "encoded" else "study") in card
        if row.column == "encoded":
            assert card["cell"] == row.cell and card["against"] == f"{row.against} {100 * row.against_value:.1f} %"
            assert f"{100 * row.value:.1f} [" in card["number"] and "adjusted over" in card["test"]


def test_a_finished_atlas_measures_nothing_again(tmp_path, monkeypatch):
    encoder = Ordered()
    study = Atlas(columns=["encoded", "where", "interacting"])
    first = study.measure(context(encoder, tasks(), tmp_path))

    def again(self, items):
        raise AssertionError("the model runs again")

    monkeypatch.setattr(Ordered, "forward", again)
    pd.testing.assert_frame_equal(study.measure(context(encoder, tasks(), tmp_path)), first)


def test_a_property_that_the_model_reads_is_used_and_others_have_no_pairs(tmp_path, monkeypatch):
    folder = tmp_path / "trees"
    folder.mkdir()
    encoder = load_encoder("gated-cnn", embedding_dim=16, channels=24, layers=1, reads="forward", buckets=500)
    reader = Reader(encoder, SINGULAR, [word + "s" for word in SINGULAR])
    study = Atlas(columns=["used"], treebank=str(treebank(folder)))
    for module in (atlas_parts, causal):
        monkeypatch.setattr(module, "language_model", lambda encoder: reader)
    lines, rows = lines_of(study.measure(context(encoder, [], tmp_path)), tmp_path)
    assert lines["Number"]["used"] == "yes" and lines["Number"]["used_words"].startswith("used: ")
    assert lines["upos"]["used"] == "not applicable" and "no pairs" in lines["upos"]["used_words"]
    own = rows[(rows.metric == "points lost") & (rows.role == "best")].iloc[0]
    layers = rows[(rows.metric == "points lost") & (rows.role == "layer")]
    most = layers.loc[layers.value.idxmax()]
    assert (own.layer, own.value) == (most.layer, most.value)
    assert own.p == pytest.approx(1 / (1 + facets(own.facets)["draws"]))


def row(**more):
    made = {"encoder": "e", "property": "a", "paper_name": "A", "column": "encoded", "metric": "accuracy", "role": "layer",
            "value": 0.8, "low": 0.7, "high": 0.9, "n": 100, "p": 0.001, "against": "floor", "against_value": 0.6, "status": "done",
            "facets": "{}", "reason": None, "layer": 0}  # fmt: skip
    return made | more


def test_verdicts_read_holm_over_the_whole_column_and_never_a_difference_below_the_floor():
    layers = [row(property=name, paper_name=name, layer=k, p=p, value=value) for name, k, p, value in (
        ("a", 0, 0.004, 0.8), ("a", 1, 0.001, 0.8), ("b", 0, 0.001, 0.5), ("b", 1, 0.9, 0.7),
    )]  # fmt: skip
    best = [row(property=name, paper_name=name, role="best", layer=1, p=np.nan) for name in "ab"]
    frame = adjusted(pd.DataFrame(layers + best))
    assert np.allclose(frame.p_holm[:4], holm([0.004, 0.001, 0.001, 0.9]))
    a, b = verdicts(frame).to_dict("records")
    assert a["encoded_words"].startswith("encoded in every layer") and b["encoded"] == "not shown"
    worse = adjusted(
        pd.DataFrame([*layers, row(property="c", paper_name="c", p=0.006), *best, row(property="c", role="best", p=np.nan)])
    )
    assert verdicts(worse).iloc[0].encoded_words.startswith("encoded from layer 1 on"), "0.004 of five tests is 0.012"


@pytest.mark.parametrize(
    ("most", "states", "shown"),
    [
        ({}, "not shown", "yes"),
        ({"low": -0.01}, "not shown", "not shown"),
        ({"statistic": 1.0}, "not shown", "not shown"),
        ({"statistic": 1.0}, "no", "no"),
        ({"above_chance": False}, "not shown", "not shown"),
    ],
)
def test_used_needs_a_loss_above_random_directions_with_its_interval_and_no_needs_every_layer(most, states, shown):
    about = json.dumps({"used": states, "above_chance": True, "statistic": 3.0, "null": [0.0] * 98 + [2.0]} | most)
    low = most.get("low", 0.05)
    of = {"column": "used", "metric": "points lost", "value": 0.1, "low": low, "high": 0.15, "facets": about}
    frame = adjusted(pd.DataFrame([row(**of), row(**of, role="best")]))
    assert verdicts(frame).used.iloc[0] == shown


def test_seeds_share_an_architecture_and_weights_are_counted(tmp_path):
    options = {"embedding_dim": 4, "hidden": 3, "buckets": 10}
    a, b = (about(context(load_encoder("lstm", init_seed=seed, **options), [], tmp_path)) for seed in (0, 1))
    vectors = load_encoder("lstm", **options).vocabulary.size * 4
    assert a["parameters"] == b["parameters"] == vectors + 4 * 3 * (4 + 3 + 2), "four gates, torch's two biases"
    assert a["architecture"] == b["architecture"] and a["encoder"] != b["encoder"] and a["fingerprint"] != b["fingerprint"]
    assert about(context(load_encoder("lstm", **options | {"layers": 2}), [], tmp_path))["architecture"] != a["architecture"]
    other = about(context(Ordered(), [], tmp_path))
    assert other["parameters"] is None and other["architecture"] == "ordered"


def test_a_dry_atlas_says_what_each_column_takes_and_leaves_nothing(tmp_path, monkeypatch):
    given = context(Ordered(), tasks(), tmp_path)
    seconds = forecast(Parts(Atlas(corpora={"other": Given(*tasks(1))}), SIZES["quick"], given))
    assert set(seconds) == {"encoded", "where", "interacting", "transfers"} and min(seconds.values()) > 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    (alone := Atlas(columns=["encoded"])).measure(given)
    monkeypatch.delattr(Ordered, "forward")
    assert set(forecast(Parts(alone, SIZES["quick"], given))) == {"encoded"}, "what is finished needs no model"


def test_words_of_the_command_and_mistakes():
    assert arguments(["encoder=a,b", "treebank=D"]) == ["-m", "+experiment=atlas", "encoder=a,b", "study.treebank=D"]
    assert arguments(["encoder.layers=[1,2]", "size=full"])[0] == "+experiment=atlas"
    assert arguments(["data=hf", "data.path=F"]) == ["+experiment=atlas", "~data.n", "~data.sizes", "data=hf", "data.path=F"]
    assert ranges([0, 2, 3]) == "0, 2-3"
    for options, message in (
        ({"size": "big"}, "study.size='big' is unknown"),
        ({"columns": ["used", "know"]}, "'know' is unknown"),
    ):
        with pytest.raises(ConfigError, match=message):
            Atlas(**options)
