"""SentEval's loop, against a second implementation written from its description, with the same seed."""

import json

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from probing import evaluate, load_encoder
from probing.data.split import Split
from probing.data.task import Task
from probing.errors import ConfigError
from probing.probes import mlp
from probing.probes.base import SplitFeatures, SplitLabels
from probing.probes.mlp import Recipe, train_batch
from probing.probes.senteval import SentEvalLogReg, SentEvalTorch
from probing.types import Representation


def data(seed=0, n=300, d=10, k=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    y = (x @ rng.normal(size=(d, k)) + 2 * rng.gumbel(size=(n, k))).argmax(1)
    return x[:200], y[:200], x[200:], y[200:]


def train(recipe, x, y, dev_x, dev_y, k, seed):
    return train_batch([recipe], x, [y], dev_x, [dev_y], k, seed)[0]


def senteval(x, y, dev_x, dev_y, k, nhid, dropout, l2, seed, tenacity, epoch_size, max_epoch, batch=64):
    """The description read line by line; global seeds, an explicit model, no shared code."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    if nhid == 0:
        model = nn.Sequential(nn.Linear(x.shape[1], k))
    else:
        model = nn.Sequential(nn.Linear(x.shape[1], nhid), nn.Dropout(p=dropout), nn.Sigmoid(), nn.Linear(nhid, k))
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=l2)
    loss_function = nn.CrossEntropyLoss()
    X, Y = torch.tensor(x), torch.tensor(y)
    best, stop, count, epoch, curve, kept = -1.0, False, 0, 0, [], None
    while not stop and epoch <= max_epoch:
        model.train()
        for _ in range(epoch_size):
            permutation = np.random.permutation(len(X))
            for i in range(0, len(X), batch):
                index = torch.from_numpy(permutation[i : i + batch]).long()
                loss = loss_function(model(X[index]), Y[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        epoch += epoch_size
        model.eval()
        with torch.no_grad():
            accuracy = (model(torch.tensor(dev_x)).argmax(1).numpy() == dev_y).mean()
        curve.append(accuracy)
        if accuracy > best:
            best, kept = accuracy, {name: value.clone() for name, value in model.state_dict().items()}
        else:
            if count >= tenacity:
                stop = True
            count += 1
    return curve, kept


@pytest.mark.parametrize(("nhid", "dropout"), [(0, 0.0), (20, 0.0), (20, 0.2)])
@pytest.mark.parametrize(("tenacity", "epoch_size", "max_epoch"), [(5, 4, 200), (2, 1, 200), (3, 2, 9)])
def test_the_dev_curve_and_the_kept_model_are_the_originals(nhid, dropout, tenacity, epoch_size, max_epoch):
    x, y, dev_x, dev_y = data()
    state = np.random.get_state(), torch.random.get_rng_state()
    expected, kept = senteval(x, y, dev_x, dev_y, 3, nhid, dropout, 1e-3, 1111, tenacity, epoch_size, max_epoch)
    np.random.set_state(state[0])
    torch.random.set_rng_state(state[1])
    recipe = Recipe(nhid, dropout, 1e-3, 64, tenacity, epoch_size, max_epoch)
    run = train(recipe, x, y, dev_x, dev_y, 3, 1111)
    assert run.curve == pytest.approx(expected, abs=1e-12)
    for ours, original in zip(run.model.state_dict().values(), kept.values(), strict=True):
        torch.testing.assert_close(ours, original)


def test_a_batch_holds_the_originals_models():
    """Hidden x dropout x L2 x labels, each with its own masks and its own end, against one original run for each."""
    x, y, dev_x, dev_y = data()
    rng = np.random.default_rng(0)
    other, dev_other = rng.permutation(y), rng.permutation(dev_y)
    grid = [(nhid, p, l2) for nhid in (0, 20, 30) for p in (0.0, 0.2, 0.5) for l2 in (1e-4, 1e-1)]
    recipes = [Recipe(*cell, tenacity=2, epoch_size=1, max_epoch=30) for cell in grid] * 2
    ys, devs = [y] * len(grid) + [other] * len(grid), [dev_y] * len(grid) + [dev_other] * len(grid)
    runs = train_batch(recipes, x, ys, dev_x, devs, 3, 7)
    assert len({len(run.curve) for run in runs}) > 2, "models must end at different steps"
    for recipe, labels, dev, run in zip(recipes, ys, devs, runs, strict=True):
        p = recipe.dropout if recipe.nhid else 0.0
        expected, kept = senteval(x, labels, dev_x, dev, 3, recipe.nhid, p, recipe.l2, 7, 2, 1, 30)
        assert run.curve == pytest.approx(expected, abs=1e-12)
        for ours, original in zip(run.model.state_dict().values(), kept.values(), strict=True):
            torch.testing.assert_close(ours, original, rtol=1e-4, atol=1e-5)


def test_the_gradient_is_autograds():
    """One step from the same start, with dropout, on unequal rows: the vector that Adam reads."""
    model = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.3), nn.Sigmoid(), nn.Linear(5, 4))
    x, targets = torch.randn(9, 6), torch.randint(0, 4, (2, 9))
    noise = torch.empty(2, 5, 9).bernoulli_(0.7).div_(0.7)
    stack = mlp._Stack.of(model, [0.0, 0.1])
    stack.step(x, targets, noise)
    for at, decay in enumerate([0.0, 0.1]):
        model.zero_grad()
        hidden = torch.sigmoid((x @ model[0].weight.T + model[0].bias) * noise[at].T)
        loss = nn.functional.cross_entropy(hidden @ model[3].weight.T + model[3].bias, targets[at])
        (loss + decay / 2 * sum((p**2).sum() for p in model.parameters())).backward()
        for slot, p in zip(stack.slots, model.parameters(), strict=True):
            torch.testing.assert_close(slot[at].view_as(p), p.grad)


def test_misses_are_cumulative_and_the_shortest_run_has_28_passes():
    """Tenacity 5, epoch_size 4: the sixth miss ends it, so seven steps at least."""
    x, y, dev_x, dev_y = data()
    run = train(Recipe(0), x, np.zeros_like(y), dev_x, np.zeros_like(dev_y), 3, 1)
    misses = sum(a <= max(run.curve[:i]) for i, a in enumerate(run.curve) if i)
    assert misses == 6
    assert len(run.curve) >= 7


def test_the_bound_on_passes_is_checked_before_a_step():
    """max_epoch 6, epoch_size 4: 4 <= 6 starts a second step, 8 > 6 ends it."""
    x, y, dev_x, dev_y = data()
    assert len(train(Recipe(0, tenacity=99, max_epoch=6), x, y, dev_x, dev_y, 3, 1).curve) == 2


def test_without_early_stopping_there_is_one_step_of_four_passes():
    x, y, dev_x, dev_y = data()
    run = train(Recipe(50, early_stop=False), x, y, dev_x, dev_y, 3, 123)
    expected, _ = senteval(x, y, dev_x, dev_y, 3, 50, 0.0, 1e-5, 123, 0, 4, 3)
    assert run.curve == pytest.approx(expected[:1], abs=1e-12)


def test_the_global_generators_are_left_alone():
    x, y, dev_x, dev_y = data()
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(2), np.random.rand(2)
    torch.manual_seed(5)
    np.random.seed(5)
    train(Recipe(0, max_epoch=1), x, y, dev_x, dev_y, 3, 1)
    assert torch.equal(torch.rand(2), expected[0])
    np.testing.assert_array_equal(np.random.rand(2), expected[1])


def test_the_seed_matters_and_is_reproducible():
    x, y, dev_x, dev_y = data()
    one, again, other = (train(Recipe(20), x, y, dev_x, dev_y, 3, seed).curve for seed in (1, 1, 2))
    assert one == again != other


# The protocols: SentEval's order of the sentences, and its choice of equal dev accuracies.


def sentences(n, seed, longest=12):
    """Sentences of random lengths, with labels that the features predict in part: texts, labels, features."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(f"w{k}" for k in rng.integers(10_000, size=rng.integers(2, longest))) for _ in range(n)]
    labels = rng.integers(3, size=n)
    return texts, labels, (rng.normal(size=(n, 6)) + np.eye(6)[labels]).astype(np.float32)


def measured(folder, texts, labels, features, ends, probe):
    """Test predictions and dev accuracy of the one cell, through `evaluate`, of splits that end at these rows."""
    folder.mkdir()
    np.savez(folder / "vectors.npz", sentences=np.array(texts), layer=features)
    splits = [Split(tuple(texts[a:b]), np.asarray(labels[a:b])) for a, b in zip((0, *ends), ends, strict=False)]
    task = Task("made", ("a", "b", "c"), *splits, card={}, source="", file_sha256="", git_blob="")
    encoder = load_encoder("vectors", path=str(folder / "vectors.npz"))
    table = evaluate([task], [encoder], store=folder / "store", probe=probe, controls=[], floors=[])
    return table.predictions(table.frame.cell[0])[1], table.frame.dev_accuracy[0], json.loads(table.frame.chosen[0])


def test_order_senteval_is_the_originals_order(tmp_path):
    """Its sort before embedding, on token lists and label numbers; then its grid: the first of the highest dev accuracies."""
    texts, labels, features = sentences(400, 0)
    kept = {}
    for name, part in (("train", slice(0, 200)), ("dev", slice(200, 300))):
        rows = sorted(
            zip([text.split() for text in texts[part]], labels[part], features[part], strict=True), key=lambda z: (len(z[0]), z[1])
        )
        kept[name] = np.stack([row[2] for row in rows]), np.array([row[1] for row in rows])
    fits = [senteval(*kept["train"], *kept["dev"], 3, 5, 0.0, l2, 1111, 5, 1, 40) for l2 in (1e-5, 1e-2, 1.0)]
    best = int(np.argmax([round(100 * max(curve), 2) for curve, _ in fits]))
    network = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.0), nn.Sigmoid(), nn.Linear(5, 3))
    network.load_state_dict(fits[best][1])
    expected = network.eval()(torch.tensor(features[300:])).argmax(1).numpy()

    probe = {"name": "senteval", "nhid": [5], "l2": [1e-5, 1e-2, 1.0], "epoch_size": 1, "max_epoch": 40}
    predicted, dev, _ = measured(tmp_path / "a", texts, labels, features, (200, 300, 400), SentEvalTorch(**probe, order="senteval"))
    np.testing.assert_array_equal(predicted, expected)
    assert dev == max(fits[best][0])
    other, *_ = measured(tmp_path / "b", texts, labels, features, (200, 300, 400), SentEvalTorch(**probe))
    assert (other != expected).any(), "the file's order gives other minibatches"


@pytest.mark.parametrize("numbered", [False, True])
def test_with_order_senteval_the_order_of_the_file_is_nothing(tmp_path, numbered):
    """No two train sentences are equal in length and label: whatever their order, there is one order."""
    rng = np.random.default_rng(0)
    texts, labels, features = sentences(300, 1)
    texts[:90] = [" ".join(f"x{k}" for k in rng.integers(10_000, size=1 + i // 3)) for i in range(90)]
    labels[:90] = np.arange(90) % 3
    features[:90] += 2 * np.eye(6, dtype=np.float32)[labels[:90]]
    shuffled = np.r_[rng.permutation(90), np.arange(90, 300)]
    predicted = {}
    for order in ("senteval", "file"):
        probe = SentEvalTorch(nhid=[8], l2=[1e-5], batch_size=8, max_epoch=20, first_appearance=numbered, order=order)
        for name, rows in (("as it is", np.arange(300)), ("shuffled", shuffled)):
            given = [texts[i] for i in rows], labels[rows], features[rows]
            predicted[order, name] = measured(tmp_path / f"{order} {name}", *given, (90, 190, 300), probe)[0]
    np.testing.assert_array_equal(predicted["senteval", "as it is"], predicted["senteval", "shuffled"])
    assert (predicted["file", "as it is"] != predicted["file", "shuffled"]).any()


@pytest.mark.parametrize("grid", [[1e-2, 1e-3, 1e-4], [1e-4, 1e-3, 1e-2]])
def test_of_equal_dev_accuracies_the_first_of_the_grid_is_taken(grid):
    """In the order of the grid, as SentEval's `regs[np.argmax(scores)]`. Equal features, equal accuracies."""
    x = np.repeat(np.eye(3, dtype=np.float32) * 5, 40, axis=0)
    y = np.repeat(np.arange(3), 40)
    rows = np.random.default_rng(0).permutation(120)
    x, y = x[rows], y[rows]
    logistic = [1000 * value for value in grid]
    for probe, name, first in (
        (SentEvalTorch(nhid=[0], l2=grid), "l2", grid[0]),
        (SentEvalLogReg(grid=logistic), "C", logistic[0]),
        (SentEvalLogReg(grid=logistic, solver="lbfgs"), "C", logistic[0]),
    ):
        blocks, labels = SplitFeatures(x, x, x), {"true": SplitLabels(y, y)}
        [(_, _, result)] = probe.fit(lambda column, blocks=blocks: blocks, [Representation(0, "mean")], labels, "made", 3, 0)
        assert len({tried["dev_accuracy"] for tried in result.tried}) == 1
        assert result.chosen[name] == first, probe


@pytest.mark.parametrize("k", [2, 3])
def test_senteval_logreg_is_one_against_the_rest_with_a_penalised_intercept(k):
    """Against a minimiser of scipy: a model for each class, the intercept in the penalty, the highest score wins."""
    rng = np.random.default_rng(k)
    y = rng.integers(k, size=300)
    x = (rng.normal(size=(300, 4)) + 2 * (np.eye(4)[y] if k > 2 else np.outer(y, [1, 0, 0, 0])) - 3).astype(np.float32)
    C = 0.05  # strong enough a penalty for the intercept to matter
    one = np.c_[x, np.ones(300)].astype(float)

    def scores(sign, penalised):
        def loss(w):
            return (w[: None if penalised else -1] ** 2).sum() / 2 + C * np.logaddexp(0, -sign[:200] * (one[:200] @ w)).sum()

        return one[200:] @ minimize(loss, np.zeros(5), tol=1e-10).x

    classes = range(k) if k > 2 else [1]
    expected, free = (
        np.stack([scores(np.where(y == c, 1, -1), penalised) for c in classes], axis=1) for penalised in (True, False)
    )
    expected, free = (s.argmax(1) if k > 2 else (s[:, 0] > 0).astype(int) for s in (expected, free))
    blocks, labels = SplitFeatures(x[:200], x[200:], x[200:]), {"true": SplitLabels(y[:200], y[200:])}
    [(_, _, result)] = SentEvalLogReg(grid=[C]).fit(lambda column: blocks, [Representation(0, "mean")], labels, "made", k, 0)
    assert (result.predictions != expected).sum() <= 1 < (free != expected).sum() and result.converged


@pytest.mark.parametrize("probe", [SentEvalTorch, SentEvalLogReg])
def test_an_unknown_order_or_blocks_without_one_are_refused(probe):
    with pytest.raises(ConfigError, match=r"probe.order='length' is unknown \(allowed: file, senteval\)"):
        probe(order="length")
    blocks, labels = SplitFeatures(*np.zeros((3, 4, 2), dtype=np.float32)), {"true": SplitLabels(*np.eye(2, 4, dtype=int))}
    with pytest.raises(ConfigError, match="give SplitFeatures their order, or use order=file"):
        list(probe(order="senteval").fit(lambda column: blocks, [Representation(0, "mean")], labels, "made", 2, 0))
