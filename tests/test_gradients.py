"""Gradients of encoders and the attributions by them: finite differences, games of the same baseline, the oracle, hand cases."""

import json

import numpy as np
import pytest
import torch
from architectures import build, save, tokenizer
from explanation_nets import OracleNet, head_of_net, nets, text_of
from test_interventions import KINDS, make
from toys import ToyEncoder

from probing import load_encoder
from probing.attributions.deeplift import deeplift
from probing.attributions.gradients import TOLERANCE, gradcam, gradient, integrated
from probing.attributions.indices import GAMES
from probing.attributions.methods import FROM_BASELINE, METHODS, OF_TEXT, Settings, explain
from probing.attributions.word_function import NotApplicable, WordFunction
from probing.encoders.gradients import at_layer, gradients
from probing.encoders.interventions import Intervention, intervened
from probing.errors import ConfigError, EncoderError
from probing.interactions.text.game import TextGame
from probing.interactions.text.heads import LinearHead
from probing.interactions.text.masking import WordVectors

TEXT, SHORT = "the dog's cat runs near", "dogs run"
DOUBLE = [kind for kind in KINDS if kind != "llama"]  # whose norms stay in float32
FEEDFORWARD = [kind for kind in DOUBLE if not kind.startswith("lstm") and kind != "elmo-style"]


def doubled(encoder):
    """The encoder with weights and states in float64."""
    (encoder.network if hasattr(encoder, "network") else encoder.model).double()
    return encoder


def items_of(encoder, *texts):
    return encoder.tokenize(list(texts))[0]


def head_for(encoder, layer=-1, pooling="mean", seed=0):
    layer %= len(encoder.dims)
    rng = np.random.default_rng(seed)
    coef = rng.normal(size=(3, encoder.dims[layer])) / encoder.dims[layer] ** 0.5
    return LinearHead(coef, rng.normal(size=3), ("a", "b", "c"), layer, pooling)


def vectors_of(encoder, items):
    """The word vectors (batch, tokens, d) that a pass looks up."""
    held = []
    with encoder.lookup_changed_by(lambda given: held.append(given) or given):
        encoder.forward(items)
    [given] = held
    return given.clone()


def number(states, row=None):
    """A number that depends on every state that counts, of one row or of all."""
    weighted = [torch.sin(torch.arange(x.shape[2]).to(x) * (k + 1)) * x for k, x in enumerate(states.layers)]
    rows = slice(None) if row is None else [row]
    return sum((x * states.mask[..., None])[rows].sum() for x in weighted)


@pytest.mark.parametrize("kind", DOUBLE)
def test_a_gradient_is_the_limit_of_differences(kind, tiny):
    encoder = doubled(make(kind, tiny))
    items = items_of(encoder, TEXT)
    start = vectors_of(encoder, items).requires_grad_()

    def of_vectors(vectors):
        with gradients(), encoder.lookup_changed_by(lambda given: vectors):
            return number(encoder.forward(items))

    assert torch.autograd.gradcheck(of_vectors, (start,), eps=1e-6, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_within_the_switch_a_pass_gives_the_same_states_and_outside_of_it_the_same_bits(kind, tiny):
    encoder = make(kind, tiny)
    items = items_of(encoder, TEXT, SHORT)
    before = encoder.forward(items)
    with gradients():
        within = encoder.forward(items)
        assert not any(layer.is_inference() for layer in within.layers)
    after = encoder.forward(items)
    assert all(layer.is_inference() for layer in after.layers)
    for a, b, c in zip(before.layers, within.layers, after.layers, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)  # torch has another kernel of LSTMs with gradients
        assert torch.equal(a, c)
    module = encoder.network if hasattr(encoder, "network") else encoder.model
    assert not any(part.training for part in module.modules())
    assert not any(weight.requires_grad for weight in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_a_sentence_does_not_depend_on_its_batch(kind, tiny):
    encoder, slopes = make(kind, tiny), []
    for texts in ((SHORT,), (SHORT, TEXT)):
        items = items_of(encoder, *texts)
        leaf = vectors_of(encoder, items).requires_grad_()
        with gradients(), encoder.lookup_changed_by(lambda given, leaf=leaf: leaf):
            [slope] = torch.autograd.grad(number(encoder.forward(items), row=0), leaf)
        slopes.append(slope[0, : len(items[0])])
    torch.testing.assert_close(slopes[0], slopes[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", FEEDFORWARD)
def test_the_gradient_at_a_layer_is_that_of_an_intervention_there(kind, tiny):
    encoder = doubled(make(kind, tiny))
    items = items_of(encoder, TEXT)
    for layer in range(len(encoder.dims)):
        with gradients(), at_layer(encoder, layer) as leaves:
            states = encoder.forward(items)
            slope = leaves.gradient(number(states), states.layers[layer])
        step = torch.randn(slope.shape, generator=torch.Generator().manual_seed(layer)).double() * 1e-5
        values = []
        for sign in (1, -1):
            moved = states.layers[layer].detach() + sign * step
            given = [Intervention(layer, moved)]
            with intervened(encoder, given):
                values.append(float(number(encoder.forward(items))))
        assert (values[0] - values[1]) / 2 == pytest.approx(float((slope * step).sum()), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("kind", ["lstm", "lstm both", "elmo-style"])
def test_the_gradient_at_a_recurrent_layer_is_that_of_the_layers_above(kind, tiny):
    encoder = make(kind, tiny)
    items = items_of(encoder, TEXT, SHORT)
    for layer in range(len(encoder.dims)):
        with gradients(), at_layer(encoder, layer) as leaves:
            states = encoder.forward(items)
            top = leaves.gradient(states.layers[layer].sum(), states.layers[layer])
            assert torch.equal(top[states.mask], torch.ones_like(top[states.mask])), (
                "a state that is read itself moves nothing else"
            )
    if kind == "lstm":  # of the layer below the last, by torch's own LSTM
        with gradients(), at_layer(encoder, 1) as leaves:
            states = encoder.forward(items[:1])
            slope = leaves.gradient(states.layers[2].sin().sum(), states.layers[1])
        below = states.layers[1].detach().clone().requires_grad_()
        [expected] = torch.autograd.grad(encoder.network.forwards.layers[1](below)[0].sin().sum(), below)
        torch.testing.assert_close(slope, expected)


@pytest.mark.parametrize("kind", [*KINDS, "roberta"])
def test_integrated_gradients_sum_to_the_game_of_the_same_masking(kind, tiny, tmp_path):
    if kind == "roberta":  # whose positions are made of ids: those of a masked sentence must be the sentence's
        encoder = load_encoder("hf", name=str(save(build("roberta"), tmp_path, tokenizer())))
    else:
        encoder = make(kind, tiny)
    head = head_for(encoder)
    for masking in ("zero", "pad", "mean") if kind in ("bert", "roberta", "cnn") else ("zero",):
        f = WordFunction(encoder, head, TEXT, masking)
        ig = integrated(f)
        assert ig.gap <= TOLERANCE
        game = TextGame(encoder, TEXT, "logit", masking, head=head)
        empty, whole = game(np.array([[False], [True]]).repeat(5, 1))
        assert game.predicted == ig.target and ig.rows == f.rows >= 3 * 16
        assert ig.scores.sum() == pytest.approx(whole - empty, abs=1e-3 * abs(whole - empty) + 1e-6)
        assert (ig.whole, ig.empty) == (pytest.approx(whole, abs=1e-5), pytest.approx(empty, abs=1e-5))


def test_the_law_of_sums_tells_baselines_apart(tiny):
    encoder = make("bert", tiny)
    f = WordFunction(encoder, head_for(encoder), TEXT, "pad")
    other = WordFunction(encoder, head_for(encoder), TEXT, "zero")
    assert abs(integrated(f).scores.sum() - (other.whole - other.empty)) > 1e-3 * abs(other.whole - other.empty)


@pytest.mark.shared
def test_the_oracles_gradients_to_1e8(shared):
    oracle = json.loads((shared / "oracles" / "explanations.json").read_text())
    encoders = nets(oracle)
    plain = {"gradient_l2": "gradient", "gradient_l1": "gradient-l1", "gradient_sum": "gradient-sum"}
    for key, study in oracle["studies"].items():
        encoder, expected = encoders[key.split("/")[0]], study["attributions"]
        head, text = head_of_net(encoder), text_of(study["ids"])
        f = WordFunction(encoder, head, text)
        assert f.target == str(study["target"])
        for name, method in (plain | {"gradient_x_input": "gradient-x-input"}).items():
            np.testing.assert_allclose(gradient(f, method).scores, expected[name], atol=1e-8)
        for masking in ("zero", "pad", "mask"):
            if f"integrated_gradients_{masking}" in expected:
                f = WordFunction(encoder, head, text, masking)
                of_change, ig, five = gradient(f, "gradient-x-change"), integrated(f), integrated(f, nodes=5)
                np.testing.assert_allclose(of_change.scores, expected[f"gradient_x_input_minus_{masking}"], atol=1e-8)
                np.testing.assert_allclose(ig.scores, expected[f"integrated_gradients_{masking}"], atol=1e-8)
                np.testing.assert_allclose(five.scores, expected[f"integrated_gradients_{masking}_5_nodes"], atol=1e-8)


def linear_net(scores, classes=2):
    """A linear net in float64 whose first class has the scores of words w2, w3, …, of a sentence of all of them."""
    weights = {
        "E": [[0.0] * 2, [0.5, 1.0], *[[s * len(scores), 1.0] for s in scores]],
        "W": [[1.0, 0.0], [0.0, 0.0]],
        "b": [5.0, 0.0],
    }
    return OracleNet(net="linear", weights=weights, embedding_dim=2)


def test_the_hand_case_of_a_linear_function():
    encoder, text = linear_net([2.0, -1.0, 0.5]), "w2 w3 w4"
    head = head_of_net(encoder)
    f = WordFunction(encoder, head, text, "zero")
    for scores in (integrated(f), gradient(f, "gradient-x-change"), gradient(f, "gradient-x-input")):
        np.testing.assert_allclose(scores.scores, [2.0, -1.0, 0.5], atol=1e-12)
    assert integrated(f).gap < 1e-12 and (f.whole, f.empty) == (6.5, 5.0)
    assert not gradient(f).ranks and integrated(f).ranks
    against = WordFunction(encoder, head, text, "zero", target="1-0")
    np.testing.assert_allclose(integrated(against).scores, [-2.0, 1.0, -0.5], atol=1e-12)


def test_pieces_of_a_word_are_summed_and_their_norms_joined(tiny):
    encoder = make("bert", tiny)
    f = WordFunction(encoder, head_for(encoder), "the cat's dog sees it", "mask")
    [slope], e = f.slopes(torch.ones(1, dtype=torch.float64))
    own = [k for k, owner in enumerate(f.sentence.owners) if owner == 1]
    assert len(own) == 3
    assert gradient(f).scores[1] == pytest.approx(float(slope[own].norm()))
    assert gradient(f, "gradient-sum").scores[1] == pytest.approx(float(slope[own].sum()))
    assert gradient(f, "gradient-x-input").scores[1] == pytest.approx(float((slope[own] * e[own]).sum()), rel=1e-4)


@pytest.mark.parametrize("kind", ["bert", "lstm both", "cnn", "elmo-style"])
def test_gradcam_at_the_heads_own_layer_is_the_positive_part_of_the_class_direction(kind, tiny):
    encoder = make(kind, tiny)
    head = head_for(encoder)
    f = WordFunction(encoder, head, TEXT)
    states = encoder.forward([f.item])
    w = torch.from_numpy(head.coef[head.classes.index(f.target)])
    n = states.mask.sum()
    tokens = ((states.layers[-1][0].double() @ w / n).clamp(min=0) * states.mask[0]).numpy()
    np.testing.assert_allclose(gradcam(f).scores, f.of_words(torch.from_numpy(tokens)), atol=1e-6)
    assert (gradcam(f, 1).scores >= 0).all() and np.isnan(gradcam(f).gap)


def test_encoders_without_gradients_and_maskings_without_vectors_are_refused_by_name(tiny):
    toy, bert = ToyEncoder(), make("bert", tiny)
    with pytest.raises(ConfigError, match=r"toy is read from outside, so no gradient passes through it: take a method .*shapley"):
        WordFunction(toy, head_for(toy), TEXT)
    with pytest.raises(ConfigError, match="read from outside"), gradients(), at_layer(toy, 1):
        pass
    for masking in ("attention", "delete"):
        with pytest.raises(
            ConfigError, match=rf"masking={masking} puts no vector .*tiny-bert that do: mask, pad, unknown, zero, mean"
        ):
            WordFunction(bert, head_for(bert), TEXT, masking)
    with pytest.raises(ConfigError, match="needs masking="):
        integrated(WordFunction(bert, head_for(bert), TEXT))
    with pytest.raises(ConfigError, match=r"target='d' is no class .*predicted, a, b, c"):
        WordFunction(bert, head_for(bert), TEXT, target="d")
    with pytest.raises(EncoderError, match="does not look up one vector a token"):
        broken = WordVectors(bert, "zero")
        with broken(torch.ones(1, 3, dtype=torch.bool)):
            bert.forward(items_of(bert, TEXT))


@pytest.mark.shared
def test_deeplift_gives_the_oracles_scores_and_refuses_what_it_does_not_cover(shared, tiny):
    oracle = json.loads((shared / "oracles" / "explanations.json").read_text())
    encoder = nets(oracle)["mlp"]
    for name, ids in oracle["sentences"].items():
        expected = oracle["mlp_rules"][name]
        for masking in ("zero", "mask"):
            f = WordFunction(encoder, head_of_net(encoder), text_of(ids), masking, str(expected["target"]))
            np.testing.assert_allclose(deeplift(f).scores, expected[f"deeplift_rescale_{masking}"], atol=1e-8)
    bert = make("bert", tiny)
    with pytest.raises(NotApplicable, match=r"miss F\(e\) - F\(b\) by \d+\.\d% on tiny-bert, more than 1%.*method=ig"):
        deeplift(WordFunction(bert, head_for(bert), TEXT, "mask"))


@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
def test_deeplift_of_a_cnn_sums_to_the_effect(pooling):
    encoder = load_encoder("cnn", embedding_dim=12, buckets=200, filters=4)
    encoder.network.embedding.weight.mul_(20)
    f = WordFunction(encoder, head_for(encoder, pooling=pooling), TEXT, "zero")
    deep, slopes = deeplift(f), gradient(f, "gradient-x-change")
    assert deep.gap < 1e-5
    assert abs(slopes.scores.sum() - (f.whole - f.empty)) > 1e-3 * abs(f.whole - f.empty), "it is no first-order answer"
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in encoder.network.modules()), "captum's hooks are gone"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_score_to_each_word(method, tiny):
    encoder = make("cnn", tiny)
    head = head_for(encoder, pooling="max")
    settings = Settings(counts={"cat": 3}, budget=60)
    for text in (TEXT, SHORT):
        made = explain(encoder, head, text, method, "zero", "b-a", settings=settings)
        assert made.method == method and made.scores.shape == (len(text.split()),) and np.isfinite(made.scores).all()
        assert made.target == "b-a" and (made.rows == 0) == (method in OF_TEXT)
        assert made.masking == ("zero" if method in (*GAMES, *FROM_BASELINE) else None)


def test_words_alone_order_the_methods_of_text():
    toy = ToyEncoder()
    text = "the Cat of the Kalahari"

    def scores(method, seed=0):
        settings = Settings(seed=seed, counts={"the": 9, "of": 4, "cat": 1})
        return explain(toy, head_for(toy), text, method, "delete", settings=settings).scores

    assert scores("frequency").argsort(kind="stable").tolist() == [0, 3, 2, 1, 4]
    assert scores("length").argmax() == 4 and scores("position").argmax() == 0
    assert np.array_equal(scores("random"), scores("random")) and not np.array_equal(scores("random"), scores("random", 1))
    with pytest.raises(NotApplicable, match="needs counts of words"):
        explain(toy, head_for(toy), text, "frequency", "delete")
    with pytest.raises(ConfigError, match=r"method='shaply' is unknown; did you mean 'shapley'\? \(allowed: shapley, banzhaf"):
        explain(toy, head_for(toy), text, "shaply", "delete")


def test_all_methods_of_contribution_agree_on_a_linear_function():
    encoder, text = linear_net([2.0, -1.0, 0.5]), "w2 w3 w4"
    for masking in ("zero", "mask"):
        scores = [
            explain(encoder, head_of_net(encoder), text, m, masking).scores for m in (*GAMES, "ig", "gradient-x-change", "deeplift")
        ]
        for other in scores:
            np.testing.assert_allclose(other, scores[0], atol=1e-12)


def test_an_and_of_two_words_by_gradients_and_games():
    """relu(a + b - 1) with both words 1: Shapley and IG share it, leave-one-out gives it twice, add-one-in never."""
    rows = {"E": [[0.0, 0.0], [0.0, 0.0], [2.0, 0.0], [2.0, 0.0]], "W1": [[1.0], [0.0]], "b1": [-1.0]}
    encoder = OracleNet(net="mlp", weights=rows | {"W2": [[1.0, 0.0]], "b2": [0.0, 0.0]}, embedding_dim=2)
    head, text = head_of_net(encoder), "w2 w3"
    expected = {"shapley": (0.5, 0.5), "ig": (0.5, 0.5), "deeplift": (0.5, 0.5), "loo": (1, 1), "add-one": (0, 0)}
    expected |= {"gradient-x-change": (1, 1)}
    for method, scores in expected.items():
        np.testing.assert_allclose(explain(encoder, head, text, method, "zero").scores, scores, atol=1e-9, err_msg=method)
