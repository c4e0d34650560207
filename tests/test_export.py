"""What goes out of a run: files for other programs, each read back by its library; loggers; interactions for shapiq."""

from __future__ import annotations

import json

import numpy as np
import pytest
from toys import ToyEncoder

from probing.errors import ConfigError
from probing.interactions import TableGame, segment_interaction, table
from probing.interactions.exchange import shapiq_values
from probing.interactions.text.command import Interact
from probing.interactions.text.game import TextGame

# Interactions: shapiq.


@pytest.mark.parametrize("index, order", [("SV", 1), ("SII", 2), ("SII", 3), ("Moebius", 4)])
def test_interactions_are_those_of_shapiq(index, order):
    """Of every column of a random game: each interaction, the empty one too, by a library that shares no code with ours."""
    shapiq = pytest.importorskip("shapiq")
    v = np.random.default_rng(order).normal(size=(16, 2))
    made = shapiq_values(TableGame(v), index, order)
    for column, values in zip(v.T, made, strict=True):
        exact = shapiq.ExactComputer(lambda rows, c=column: c[rows.astype(int) @ (1 << np.arange(4))], n_players=4)(
            index, order=order
        )
        assert values.dict_values.keys() == exact.dict_values.keys()
        assert values.dict_values == pytest.approx(exact.dict_values, abs=1e-9)
        assert (values.index, values.max_order, values.min_order) == (exact.index, exact.max_order, exact.min_order)
        assert values.baseline_value == pytest.approx(exact.baseline_value) and not values.estimated


def test_a_game_of_shapiq_is_a_game_of_ours():
    """A subclass of its `Game`, normalised as usual: its table, and the interaction of a segment against its exact values."""
    shapiq = pytest.importorskip("shapiq")
    v = np.random.default_rng(0).normal(size=16)

    class Theirs(shapiq.Game):
        def value_function(self, coalitions):
            return v[coalitions.astype(int) @ (1 << np.arange(4))]

    game = Theirs(n_players=4, normalize=True, normalization_value=float(v[0]))
    assert table(game) == pytest.approx(v - v[0])
    ours = segment_interaction(game, (1, 3))
    merged = shapiq.ExactComputer(  # the players 1 and 2 as one, in the game of 0, [12] and 3
        lambda rows: game(rows[:, [0, 1, 1, 2]].astype(bool)), n_players=3
    )("SV", order=1)
    alone = [
        shapiq.ExactComputer(lambda rows, keep=keep: game(rows[:, [0, 1, 1, 2]].astype(bool) & keep), n_players=3)("SV", order=1)
        for keep in ([True, True, False, True], [True, False, True, True])
    ]
    assert ours.phi[0, 1] == pytest.approx(merged[(1,)])
    assert ours.B == pytest.approx(merged[(1,)] - sum(one[(1,)] for one in alone))


@pytest.mark.parametrize("options, message", [({"index": "SI"}, "no index 'SI'; did you mean"), ({"order": 3}, "order=3 must be")])
def test_indices_that_are_not_known(options, message):
    with pytest.raises(ConfigError, match=message):
        shapiq_values(TableGame(np.arange(4.0)), **options)


def test_interact_writes_a_file_for_each_layer(tmp_path):
    shapiq = pytest.importorskip("shapiq")
    options = {"text": "a movie not good", "value": "mean", "masking": "delete"}
    Interact(**options, shapiq=str(tmp_path / "out")).run(ToyEncoder(n_layers=2))
    game = TextGame(ToyEncoder(n_layers=2), "a movie not good", "mean", "delete")
    paths = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in paths] == ["0-toy-0.json", "1-toy-1.json"]
    for path, wanted, v in zip(paths, shapiq_values(game), table(game).T, strict=True):
        values = shapiq.InteractionValues.load(path).dict_values
        assert values == pytest.approx(wanted.dict_values) and len(values) == 1 + 4 + 6
        assert sum(x for players, x in values.items() if len(players) == 1) == pytest.approx(v[-1] - v[0])  # efficiency
        assert json.loads(path.read_text())["parameters"]["words"] == ["a", "movie", "not", "good"]
