"""Interventions: the laws of every kind of encoder, mutants that break them, reference values of patching, and bad input."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from probing import load_encoder
from probing.encoders import interventions
from probing.encoders.conformance import check
from probing.encoders.hf import hooks
from probing.encoders.interventions import Change, Intervention, Projection, intervened
from probing.encoders.laws import Laws
from probing.encoders.networks import network, recurrent
from probing.errors import EncoderError

WORDS = {"embedding_dim": 12, "buckets": 200}
ATTENTION = {"embedding_dim": 16, "buckets": 200, "heads": 2, "feedforward": 32, "layers": 2}
KINDS = {
    "lstm": ("lstm", WORDS | {"layers": 2, "hidden": 8}),
    "lstm backward": ("lstm", WORDS | {"layers": 2, "hidden": 8, "reads": "backward"}),
    "lstm both": ("lstm", WORDS | {"layers": 2, "hidden": 8, "reads": "both"}),
    "lstm with cells": ("lstm", WORDS | {"layers": 2, "hidden": 8, "states": ["forget", "cell", "hidden"]}),
    "gated-cnn": ("gated-cnn", WORDS | {"layers": 2, "channels": 8, "reads": "forward"}),
    "gated-cnn all": ("gated-cnn", WORDS | {"layers": 2, "channels": 8, "reads": "all"}),
    "gated-cnn both": ("gated-cnn", WORDS | {"layers": 2, "channels": 8, "reads": "both"}),
    "cnn": ("cnn", WORDS | {"filters": 4}),
    "transformer": ("transformer", ATTENTION),
    "transformer forward": ("transformer", ATTENTION | {"reads": "forward"}),
    "transformer both": ("transformer", ATTENTION | {"reads": "both"}),
    "elmo-style": ("elmo-style", {"embedding_dim": 8, "hidden": 12, "character_dim": 4, "filters": [4, 4]}),
    "bert": ("hf", {}),
    "gpt2": ("hf", {}),
    "llama": ("hf", {}),
}
PAIR, OTHER = ("the cat runs near the house .", "the dog runs near the house ."), "dogs run"


def make(kind, tiny):
    preset, options = KINDS[kind]
    return load_encoder(preset, **({"name": str(tiny(kind))} if preset == "hf" else options))


def items_of(encoder, *texts):
    return encoder.tokenize(list(texts))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_interventions_obey_their_laws(kind, tiny):
    laws = Laws(make(kind, tiny), PAIR, OTHER)
    assert laws.broken() == []
    assert bool(laws.recurrent) == (kind.startswith("lstm") or kind == "elmo-style")
    last = laws.layers[-1]
    assert not torch.equal(laws.of_base[last], laws.of_source[last]), "the laws hold of two equal sentences without an intervention"


def changes_nothing(monkeypatch):
    monkeypatch.setattr(Change, "apply", lambda self, place, x, *more: x)


def is_one_token_late(monkeypatch):
    plain = Change.apply
    monkeypatch.setattr(Change, "apply", lambda self, place, x, where, *more: plain(self, place, x, where - 1, *more))


def later_tokens_read_the_old_state(monkeypatch):
    def after(layer, x, plain, apply, where):
        return {name: apply(name, s, where) if name in ("hidden", "cell") else s for name, s in plain.items()}

    monkeypatch.setattr(recurrent, "changed_states", after)


def cells_are_left_out(monkeypatch):
    plain = recurrent.changed_states

    def without(layer, x, states, apply, where):
        return plain(layer, x, states, lambda name, s, at: apply(name, s, at) if name == "hidden" else s, where)

    monkeypatch.setattr(recurrent, "changed_states", without)


def back_is_not_mirrored(monkeypatch):
    monkeypatch.setattr(network.Turn, "where", lambda self, x, lengths: torch.arange(x.shape[1])[None].expand(x.shape[:2]))


def does_not_end(monkeypatch):
    @contextmanager
    def changed_by(self, change):
        self.forwards.turn = network.Turn(change, False, 0, self.width)
        yield

    monkeypatch.setattr(network.Network, "changed_by", changed_by)


def the_model_goes_on_with_the_old_state(monkeypatch):
    plain = hooks._with_part
    monkeypatch.setattr(hooks, "_with_part", lambda value, part, change: (plain(value, part, change), value)[1])


@pytest.mark.parametrize(
    ("mutant", "kind"),
    [
        (changes_nothing, "gated-cnn"),
        (is_one_token_late, "transformer"),
        (is_one_token_late, "lstm"),
        (later_tokens_read_the_old_state, "lstm"),
        (cells_are_left_out, "lstm"),
        (back_is_not_mirrored, "lstm backward"),
        (back_is_not_mirrored, "gated-cnn both"),
        (does_not_end, "gated-cnn"),
    ],
)
def test_a_mutant_breaks_a_law(mutant, kind, tiny, monkeypatch):
    encoder = make(kind, tiny)
    mutant(monkeypatch)
    assert Laws(encoder, PAIR, OTHER).broken()


def test_a_place_that_the_model_does_not_read_is_refused(tiny, monkeypatch):
    encoder = make("bert", tiny)
    the_model_goes_on_with_the_old_state(monkeypatch)
    with pytest.raises(EncoderError, match="layer 1 cannot be changed"), intervened(encoder, [Intervention(1, "zero")]):
        pass


def test_probing_check_tries_the_laws(tiny, monkeypatch):
    kind = lambda: make("lstm", tiny)  # noqa: E731
    rule = "interventions obey their laws"
    assert [c.held for c in check(kind).checks if c.rule == rule] == [True]
    later_tokens_read_the_old_state(monkeypatch)
    assert [c.held for c in check(kind).checks if c.rule == rule] == [False]


@pytest.mark.parametrize("kind", ["lstm both", "bert", "elmo-style", "gated-cnn"])
def test_values_of_all_kinds_land_where_they_are_named(kind, tiny):
    """Against the states, changed by hand."""
    encoder, rng = make(kind, tiny), np.random.default_rng(0)
    items = items_of(encoder, PAIR[0], OTHER)
    layer, n = 1, encoder.dims[1]
    base = encoder.forward(items).layers[layer]
    positions, units = [[2, 0], [1]], [3, 1]
    mean, given = rng.normal(size=n), torch.from_numpy(rng.normal(size=(2, 2, 2))).float()
    cases = {
        "zero": lambda i, j, x: torch.zeros(2),
        0.5: lambda i, j, x: torch.full((2,), 0.5),
        "mean": lambda i, j, x: torch.tensor(mean[units]).float(),
        "given": lambda i, j, x: given[i, j],
        "function": lambda i, j, x: 2 * x + 1,
    }
    values = {"zero": "zero", 0.5: 0.5, "mean": mean, "given": given, "function": lambda x: 2 * x + 1}
    first = {0: 0, 1: 0} if kind in ("lstm both", "elmo-style") else {}
    for name, expected in cases.items():
        with intervened(encoder, [Intervention(layer, values[name], positions, units)]) as change:
            layers = encoder.forward(items).layers
        assert torch.equal(change.states(layer)[:, : layers[layer].shape[1]][0], layers[layer][0])
        for i, row in enumerate(positions):
            for j, p in enumerate(row):
                if first and p != first.get(i) and name == "function" and i == 0:
                    continue  # a recurrent layer has read an earlier change
                new, old = layers[layer][i, p], base[i, p]
                assert torch.allclose(new[units], expected(i, j, old[units]), atol=1e-6), (name, i, p)


def test_a_projection_erases_a_direction_and_keeps_the_rest(tiny):
    encoder = make("bert", tiny)
    direction = torch.randn(encoder.dims[1], generator=torch.Generator().manual_seed(0))
    direction /= direction.norm()
    centre = torch.linspace(-1, 1, len(direction))
    matrix = torch.eye(len(direction)) - torch.outer(direction, direction)
    items = items_of(encoder, PAIR[0])
    base = encoder.forward(items).layers[1]
    with intervened(encoder, [Intervention(1, Projection(matrix, centre))]):
        x = encoder.forward(items).layers[1]
    with intervened(encoder, [Intervention(1, (matrix, centre))]):
        assert torch.equal(encoder.forward(items).layers[1], x), "the two parts of a projection are one"
    assert torch.allclose((x - centre) @ direction, torch.zeros(x.shape[:2]), atol=1e-5)
    other = torch.linalg.qr(torch.stack([direction, centre], 1))[0][:, 1]
    assert torch.allclose(x @ other, base @ other, atol=1e-5) and not torch.allclose(x, base, atol=1e-2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer": 9}, "has the layers 0 to 2"),
        ({"layer": 1, "value": "mean"}, "allowed: keep, zero"),
        ({"layer": 1, "value": np.zeros((3, 4))}, "allowed are \\(units,\\)"),
        ({"layer": 1, "value": np.full(8, np.nan)}, "not finite"),
        ({"layer": 1, "value": {}}, "is a dict"),
        ({"layer": 1, "value": "zero", "units": [8]}, "unit 8, but there are 8"),
        ({"layer": 1, "value": "zero", "units": [1, 1]}, "names one twice"),
        ({"layer": 1, "value": "zero", "positions": [[0]]}, "positions of 1 rows"),
        ({"layer": 1, "value": "zero", "positions": [[-1], [0]]}, "count from 0"),
        ({"layer": 1, "value": "zero", "positions": [[7], [0]]}, "position 7, but the longest item has 7 tokens"),
        ({"layer": 1, "value": np.zeros((1, 7, 8))}, "fewer than the batch"),
        ({"layer": 1, "value": np.zeros(5)}, "5 units"),
        ({"layer": 1, "value": Projection(np.eye(5), np.zeros(5))}, "does not fit states of 8 units"),
        ({"layer": 1, "value": lambda x: x[:1, :1]}, "must give states of shape"),
        ({"layer": 0, "value": "zero", "state": "cell"}, "only hidden states"),
        ({"layer": 1, "value": "zero", "state": "gate"}, "allowed: hidden, cell"),
    ],
)
def test_bad_input_is_one_sentence(given, message, tiny):
    encoder = make("lstm", tiny)
    with pytest.raises(EncoderError, match=message), intervened(encoder, [Intervention(**given)]):
        encoder.forward(items_of(encoder, PAIR[0], OTHER))


def test_what_cannot_be_changed_says_why(tiny, toy_encoder):
    with pytest.raises(EncoderError, match="cannot be changed while it runs"), intervened(toy_encoder, []):
        pass
    transformer = make("transformer", tiny)
    with pytest.raises(EncoderError, match="has no cells"), intervened(transformer, [Intervention(1, state="cell")]):
        pass
    with intervened(transformer, []), pytest.raises(EncoderError, match="changed already"), intervened(transformer, []):
        pass
    assert not interventions._ACTIVE
    both = make("lstm both", tiny)
    with pytest.raises(EncoderError, match="two directions run apart"), intervened(both, [Intervention(1, lambda x: x)]):
        both.forward(items_of(both, OTHER))
    llama = load_encoder("hf", name=str(tiny("llama")), final_norm=True)
    with pytest.raises(EncoderError, match="final_norm=true"), intervened(llama, [Intervention(1)]):
        pass


# Reference values.


@pytest.fixture(scope="module")
def oracle(shared):
    return json.loads((shared / "oracles" / "behaviour.json").read_text())["patching"]


def difference(logits, words):
    """log p of the first word less that of the second."""
    return float(logits[words[0]] - logits[words[1]])


@pytest.mark.shared
@pytest.mark.parametrize(("kind", "folder"), [("causal", "causal"), ("masked", "mlm")])
def test_patching_of_transformers_is_that_of_the_reference(kind, folder, oracle, shared):
    import transformers

    place = shared / "oracles" / "behaviour_models" / folder
    encoder = load_encoder("hf", name=str(place))
    head = {"causal": "AutoModelForCausalLM", "masked": "AutoModelForMaskedLM"}[kind]
    whole = getattr(transformers, head).from_pretrained(place)
    top = (whole.lm_head if kind == "causal" else whole.cls).requires_grad_(False).eval()
    ids = [[2, 10, noun, 16, 10, 14] + ([] if kind == "causal" else [4, 32, 5, 3]) for noun in (13, 12)]
    read, words, of = (5 if kind == "causal" else 6), (19, 18), oracle[kind]

    base, source = (torch.tensor([row]) for row in ids)
    layers = range(3)

    def metric(item, *by):
        """Of a head on top of the encoder's network, as a language model runs it (and without token types, as the reference)."""
        with intervened(encoder, by), torch.no_grad():
            return difference(top(encoder.model(item).last_hidden_state)[0, read], words)

    assert metric(base) == pytest.approx(of["base"], abs=1e-4)
    assert metric(source) == pytest.approx(of["source"], abs=1e-4)
    with intervened(encoder, [Intervention(layer) for layer in layers]) as change, torch.no_grad():
        encoder.model(source)
    states = [change.states(layer) for layer in layers]
    table = [[metric(base, Intervention(layer, x[:, [p]], [p])) for p in range(x.shape[1])] for layer, x in enumerate(states)]
    assert np.array(table) == pytest.approx(np.array(of["patched"]), abs=1e-4)
    assert [metric(base, Intervention(layer, x)) for layer, x in enumerate(states)] == pytest.approx(of["all_positions"], abs=1e-4)


@pytest.fixture(scope="module")
def lstm(shared):
    """The reference's language model as one of the suite's networks, and its output layer."""
    from safetensors.torch import load_file

    weights = load_file(shared / "oracles" / "behaviour_models" / "lstm" / "model.safetensors")
    encoder = load_encoder("lstm", embedding_dim=24, hidden=32, layers=2, buckets=30)
    state = {"embedding.weight": weights["embedding.weight"]}
    state |= {
        f"forwards.layers.{name[-1]}.{name.removeprefix('lstm.')[:-1]}0": w
        for name, w in weights.items()
        if name.startswith("lstm.")
    }
    encoder.network.load_state_dict(state)
    return encoder, lambda h: h @ weights["decoder.weight"].T + weights["decoder.bias"]


@pytest.mark.shared
def test_patching_of_an_lstm_is_that_of_the_reference(lstm, oracle):
    encoder, head = lstm
    of = oracle["lstm"]
    base, source = of["ids_base"], of["ids_source"]

    def metric(item, *by):
        with intervened(encoder, by):
            return difference(head(encoder.forward([item]).layers[-1])[0, -1], (8, 18))  # are, is

    m_b, m_s = metric(base), metric(source)
    assert (m_b, m_s) == pytest.approx((of["base"], of["source"]), abs=1e-6)
    with intervened(encoder, [Intervention(k, state=state) for k in (1, 2) for state in ("hidden", "cell")]) as change:
        encoder.forward([source])
    read = {(k, state): change.states(k, state) for k in (1, 2) for state in ("hidden", "cell")}
    for name, expected in of["effect"].items():
        layers = (1, 2) if name.startswith("all") else (int(name.split()[1]),)
        states = name.split()[-1].split("+")
        effects = []
        for t in range(len(base)):
            by = [Intervention(k, read[k, state][:, [t]], [t], state=state) for k in layers for state in states]
            effects.append((metric(base, *by) - m_b) / (m_s - m_b))
        assert effects == pytest.approx(expected, abs=1e-3), name  # m_s - m_b is .004, so 1e-3 here is 4e-6 nats


@pytest.mark.shared
def test_ablation_of_an_lstm_is_that_of_the_reference(lstm, oracle):
    encoder, head = lstm
    base, changes = oracle["lstm"]["ids_base"], oracle["lstm_ablation"]["change_of_metric_units_0_to_7"]

    def metric(*by):
        with intervened(encoder, by):
            return difference(head(encoder.forward([base]).layers[-1])[0, -1], (8, 18))

    for layer in (1, 2):
        changed = [metric(Intervention(layer, "zero", None, [unit])) - metric() for unit in range(8)]
        assert changed == pytest.approx(changes[f"layer {layer} zero"], abs=1e-6)
