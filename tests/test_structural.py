"""The structural probe: its gradient, its schedule, planted trees, the measure, and the script of the paper."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tree_scores import corpus, random_heads, split_of

from probing import evaluate, load_encoder
from probing.data.conllu import Treebank
from probing.data.task import Task
from probing.data.trees import Trees, ancestors
from probing.errors import ConfigError, DataError
from probing.evaluation.measure import Cell, row_of
from probing.evaluation.structural import Structural
from probing.evaluation.tree_table import Gold, Projected
from probing.probes import structural
from probing.probes.structural import Schedule
from probing.probes.tree_batches import Batch
from probing.types import Representation


def naive_loss(kind, B, h, trees, rows):
    """The mean loss over sentences, word pair by word pair."""
    total = 0
    for row in rows:
        z = h[trees.starts[row] : trees.starts[row + 1]] @ B.T
        if kind == "depth":
            gold = torch.from_numpy(trees.depths[trees.starts[row] : trees.starts[row + 1]])
            total = total + (z.square().sum(1) - gold).abs().mean()
        else:
            total = total + ((z[:, None] - z[None]).square().sum(2) - torch.from_numpy(trees.distances[row])).abs().mean()
    return total / len(rows)


@pytest.mark.parametrize("kind", structural.KINDS)
@pytest.mark.parametrize("lengths", [[1], [2], [7, 1, 3, 12, 12, 2]])
def test_the_gradient_is_that_of_autograd(kind, lengths):
    rng = np.random.default_rng(len(lengths))
    trees = corpus(rng, lengths)
    h = torch.from_numpy(rng.standard_normal((3, sum(lengths), 5)))  # three layers
    B = torch.from_numpy(rng.standard_normal((3, 4, 5))).requires_grad_()
    rows = list(range(len(lengths)))
    batch = Batch.of(rows, trees)
    chunks = tuple(chunk._replace(distances=chunk.distances.double(), weights=chunk.weights.double()) for chunk in batch.chunks)
    batch = batch._replace(chunks=chunks, depths=batch.depths.double(), shares=batch.shares.double())
    x = h[:, batch.words]
    z = torch.bmm(x, B.detach().transpose(1, 2))
    parts = [(kind, slice(0, 1)), (kind, slice(1, 4))]
    gradient = torch.bmm(x.transpose(1, 2), structural.gradients(z, batch, parts)).transpose(1, 2)
    totals = structural.losses(z, batch, parts) / len(rows)
    for layer in range(3):
        for part, (_, columns) in enumerate(parts):
            loss = naive_loss(kind, B[layer, columns], h[layer], trees, rows)
            (own,) = torch.autograd.grad(loss, B)
            assert torch.allclose(gradient[layer, columns], own[layer, columns], atol=1e-6)
            assert float(totals[layer, part]) == pytest.approx(float(loss.detach()), abs=1e-6)


def planted(rng, n_sentences, width=10, words=6, turn=None, noise=0.0):
    """Trees with the first word on top, and an exact embedding: the ancestors of a word but the root, turned."""
    heads = [np.r_[-1, [rng.integers(k) for k in range(1, words)]] for _ in range(n_sentences)]
    trees = Trees(np.concatenate(heads), np.arange(0, words * n_sentences + 1, words), *np.zeros((2, words * n_sentences), bool))
    exact = np.zeros((len(trees.heads), width))
    exact[:, : words - 1] = ancestors(np.stack(heads))[..., 1:].reshape(-1, words - 1)
    x = exact @ turn + noise * rng.standard_normal(exact.shape)
    return trees, x.astype(np.float32)


def test_a_planted_metric_is_found_at_its_rank_and_not_at_rank_1():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((10, 10)))[0]
    (train, x), (dev, y), (test, z) = (planted(rng, n, turn=turn) for n in (300, 60, 80))
    [fits] = structural.fit([(x, y)], (train, dev), [1, 5], 0, Schedule(rate=0.02))
    gold = Gold(test, "all")

    def scores(rank):
        maps = [fits[kind, rank].B for kind in structural.KINDS]
        return gold.table(Projected(*(z @ B.T for B in maps)), Projected(z, z)).scores

    full, thin = scores(5), scores(1)
    assert full["uuas"].value == 1 and full["root_accuracy"].value == 1
    assert full["distance_loss"].value < 0.1 and full["depth_loss"].value < 0.1
    assert full["dspr"].value > 0.95, "small errors part words of one distance, whose gold ranks are averages"
    assert thin["uuas"].value < 0.9 and thin["distance_loss"].value > 0.3


def reference(kind, rank, seed, x, y, train, dev, schedule):
    """The released training loop with torch's optimiser, scheduler and autograd, on the batches of `structural.fit`."""
    B = structural.starting_map(kind, rank, x.shape[1], seed).requires_grad_()
    optimiser = torch.optim.Adam([B], lr=schedule.rate)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, mode="min", factor=0.1, patience=0)
    rng, kept, least, best_epoch = np.random.default_rng([seed, 11]), None, np.inf, -1
    for epoch in range(schedule.epochs):
        order = rng.permutation(len(train))
        for k in range(0, len(order), schedule.batch):
            optimiser.zero_grad()
            naive_loss(kind, B, torch.from_numpy(x), train, order[k : k + schedule.batch].tolist()).backward()
            optimiser.step()
        with torch.no_grad():
            loss = float(naive_loss(kind, B, torch.from_numpy(y), dev, list(range(len(dev)))))
        plateau.step(loss * len(dev))
        if loss < least - 1e-4:
            kept, least, best_epoch = B.detach().clone(), loss, epoch
        elif best_epoch < epoch - 4:
            break
    return kept, least, best_epoch + 1, epoch + 1


def test_layers_and_ranks_together_are_fitted_as_the_released_loop_fits_each():
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    (train, x), (dev, y) = (planted(rng, n, 6, 4, turn, noise=0.3) for n in (70, 30))
    layers = [(x, y), (2 * x[:, ::-1].copy(), 2 * y[:, ::-1].copy())]
    schedule = Schedule(epochs=30, rate=0.03, batch=10)
    fits = structural.fit(layers, (train, dev), [2, 5], 4, schedule)
    stopped = set()
    for (own_x, own_y), own in zip(layers, fits, strict=True):
        for (kind, rank), one in own.items():
            B, loss, epoch, epochs = reference(kind, rank, 4, own_x, own_y, train, dev, schedule)
            assert (one.epoch, one.epochs) == (epoch, epochs)
            assert one.dev_loss == pytest.approx(loss, abs=1e-4) and np.allclose(one.B, B, atol=2e-3)
            stopped.add(one.epochs)
    assert min(stopped) < 30 and len(stopped) > 1, "the rule of stopping was at work, not for all at once"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=40))
def test_the_schedule_is_that_of_torch_and_of_the_released_stop(steps):
    """Dev losses near each other, by steps of half of the thresholds, for two probes whose turns are apart."""
    sentences, schedule, width = 8, Schedule(), 3
    state = structural.State(1, width, [1], 0, schedule)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=schedule.rate)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, mode="min", factor=0.1, patience=0)
    least, best_epoch, stopped = np.inf, -1, None
    for epoch, step in enumerate(steps):
        loss = 1 - 5e-5 * step
        state.after_epoch(np.array([[loss * sentences, 1.0]]), sentences, [0])
        if stopped is None:
            plateau.step(loss * sentences)
            if loss < least - 1e-4:
                least, best_epoch = loss, epoch
            elif best_epoch < epoch - 4:
                stopped = epoch
            assert state.rates[0, 0] == pytest.approx(optimiser.param_groups[0]["lr"])
        assert state.stopped[0, 0] == (stopped is not None)
    assert state.epoch_of[0, 0] == best_epoch + 1 and state.best[0, 0] == pytest.approx(least)


def test_a_rotation_of_the_vectors_turns_the_gradient_alone():
    rng = np.random.default_rng(2)
    heads = [random_heads(rng, n) for n in (5, 3)]
    gold = [((a[:, None] - a[None]) ** 2).sum(-1) for a in (ancestors(one).astype(int) for one in heads)]
    h, B = [torch.from_numpy(rng.standard_normal((n, 4))) for n in (5, 3)], torch.from_numpy(rng.standard_normal((2, 4)))
    turn = torch.from_numpy(np.linalg.qr(rng.standard_normal((4, 4)))[0])
    loss, gradient = structural.loss_and_gradient("distance", B, h, gold)
    again, turned = structural.loss_and_gradient("distance", B @ turn, [one @ turn for one in h], gold)
    assert again == pytest.approx(loss) and torch.allclose(turned, gradient @ turn)


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda x: x[:-1], "vectors for"), (lambda x: np.where(x == x[0, 0], np.nan, x), "not finite")],
)
def test_bad_vectors_are_refused(change, message):
    trees = corpus(np.random.default_rng(0), [3, 4])
    x = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
    with pytest.raises(DataError, match=message):
        structural.fit([(change(x), x)], (trees, trees), [2])


class Given:
    """Stands for vectors of the store: arrays by layer and split."""

    def __init__(self, task, layers):
        self.task, self.layers = task, layers
        self.widths = {"word-mean": [one[0].shape[1] for one in layers]}

    def of(self, split):
        number = next(k for k, own in enumerate(self.task.splits.values()) if own is split)

        class Rows:
            @staticmethod
            def get(column):
                return self.layers[column.layer][number]

        return Rows


def task_of(splits):
    return Task("tree", (), *splits, card={"kind": "regression"}, source="", file_sha256="", git_blob="")


def cells_of(measure, task, layers):
    row = row_of(task, "probe")
    return [
        Cell({}, row, task, measure, None, Representation(layer, "word-mean"), {"rank": rank, "rule": rule, "seed": 0})
        for layer in range(layers)
        for rank in measure.ranks
        for rule in measure.rules
    ]


def test_the_measure_gives_a_result_for_each_layer_rank_and_rule():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    made = [planted(rng, n, 8, turn=turn) for n in (100, 30, 40)]
    task = task_of([split_of(trees) for trees, _ in made])
    vectors = [x + 0.01 for _, x in made]  # the root's would be 0, as that of a word without a piece
    noise = [rng.standard_normal(x.shape).astype(np.float32) for x in vectors]
    noise[0][:6] = 0  # the words of a sentence that was cut off
    narrow = [x[:, :3] for x in noise]
    given = Given(task, [noise, vectors, narrow])
    measure = Structural(ranks=[5, 2], rules=["all"], rate=0.03, batch=5)
    by_place = {}
    for cell, result in measure.run(cells_of(measure, task, 3), given):
        by_place[cell.place.layer, cell.own["rank"]] = result
        assert result.facets["rank"] == cell.own["rank"] and result.facets["rule"] == "all"
        assert len(result.items["uuas"]) == len(task.test) == len(result.items["groups"])
        assert np.nanmean(result.items["uuas"]) == pytest.approx(result.scores["uuas"].value)
        assert result.details["sentences_left_out"] == {"train": 1, "dev": 0}
    assert len(by_place) == 6
    assert by_place[1, 5].scores["uuas"].value > 0.97 > by_place[0, 5].scores["uuas"].value + 0.3
    assert by_place[1, 5].scores["uuas_above_untrained"].lower > 0
    assert abs(by_place[1, 5].scores["dev_uuas"].value - by_place[1, 5].scores["uuas"].value) < 0.05
    one_layer_at_a_time = Structural(ranks=[5, 2], rules=["all"], rate=0.03, batch=5, memory=1e-9)
    for cell, result in one_layer_at_a_time.run(cells_of(one_layer_at_a_time, task, 3), given):
        same = by_place[cell.place.layer, cell.own["rank"]].scores["distance_loss"].value
        assert result.scores["distance_loss"].value == pytest.approx(same, rel=0.02, abs=1e-3)


def test_vectors_that_cannot_be_used_fail_their_cells_with_a_reason():
    trees = corpus(np.random.default_rng(0), [4, 5, 6])
    task = task_of([split_of(trees)] * 3)
    measure = Structural(ranks=[2])
    wrong = [[np.full((15, 3), np.nan, np.float32)] * 3]
    for cells, vectors, reason in (
        (cells_of(measure, task, 1), Given(task, wrong), "not finite"),
        (
            cells_of(measure, task_of([split_of(trees).take(range(1, 15))] * 3), 1),
            Given(task, wrong),
            "words of a sentence are absent",
        ),
    ):
        vectors.task = cells[0].task
        failed = [result for _, result in measure.run(cells, vectors)]
        assert len(failed) == 2 and all(isinstance(result, str) and reason in result for result in failed)


@pytest.mark.parametrize(
    "options", [{"ranks": []}, {"ranks": [0]}, {"ranks": [2, 2]}, {"rules": ["most"]}, {"epochs": 0}, {"memory": 0}, {"rate": -1.0}]
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match=f"structural.{next(iter(options))}="):
        Structural(**options)


def write_conllu(folder, rng):
    """Three files of short sentences in German tags, which the list of Penn tags does not know."""
    for name, size in (("train", 60), ("dev", 15), ("test", 20)):
        lines = []
        for sentence in range(size):
            n = int(rng.integers(3, 8))
            heads = random_heads(rng, n)
            for k in range(n):
                kind = "PUNCT\t$." if k == n - 1 else "NOUN\tNN"
                lines.append(f"{k + 1}\tw{rng.integers(30)}{name[0]}{sentence}\t_\t{kind}\t_\t{heads[k] + 1}\tdep\t_\t_")
            lines.append("")
        (folder / f"toy-{name}.conllu").write_text("\n".join(lines) + "\n")


def test_trees_of_a_folder_are_measured_on_every_layer(tmp_path, capsys):
    folder = tmp_path / "treebank"
    folder.mkdir()
    write_conllu(folder, np.random.default_rng(0))
    tasks = Treebank(str(folder)).tasks(["tree", "upos"])
    encoder = load_encoder("lstm", hidden=12, embedding_dim=8)
    options = {"probe": None, "floors": (), "controls": (), "store": tmp_path / "store"}
    table = evaluate(tasks, [encoder], measures=[Structural(ranks=[2, 4], epochs=2)], **options)
    told = capsys.readouterr().err
    assert "upos: structural is not measured: its items have no trees" in told
    assert "20 of 20 PUNCT words of test have none of the listed Penn tags" in told
    frame = table.frame
    assert set(frame.task) == {"tree"} and set(frame.status) == {"done"} and len(frame) == frame.layer.nunique() * 4
    listed, punct = (frame[frame.rule == rule] for rule in ("listed", "punct"))
    assert (listed.edges.to_numpy() - punct.edges.to_numpy() == 20).all() and (
        listed.dspr.to_numpy() == punct.dspr.to_numpy()
    ).all()
    assert frame.uuas.between(frame.uuas_low, frame.uuas_high).all() and set(frame["rank"]) == {2, 4}
    pairs = table.compare_measure("structural")
    assert set(pairs.probe) == set(frame.probe) and pairs.p.notna().all()
    again = evaluate(tasks, [encoder], measures=[Structural(ranks=[2, 4], epochs=2)], **options)
    with pytest.raises(ConfigError, match=r"structural.ranks=\[99\]: layer \d of .* has \d+ units"):
        evaluate(tasks, [encoder], measures=[Structural(ranks=[99], epochs=2)], **options)
    assert "0 to compute" in capsys.readouterr().err and (again.frame.uuas == frame.uuas).all()


def test_the_script_of_the_paper_prints_a_line_for_each_layer_rank_and_rule(tmp_path):
    script = runpy.run_path(str(Path(__file__).resolve().parents[1] / "scripts" / "reproduce" / "hewitt_manning2019.py"))
    folder = tmp_path / "treebank"
    folder.mkdir()
    write_conllu(folder, np.random.default_rng(1))
    encoder = load_encoder("lstm", hidden=12, embedding_dim=8)
    table = script["main"](str(folder), [encoder], tmp_path / "store", layers=[0, 1], ranks=[2], epochs=1)
    lines = script["shown"](table).splitlines()
    twins = table.frame[table.frame.role == "random"]
    assert len(lines) == 1 + len(table.frame) and (twins.status == "done").all() and "chain" in lines[0]
