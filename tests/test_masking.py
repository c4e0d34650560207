"""Masked sentences and the games made of them: every masking against a computation by hand, controls, heads, bad input."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_networks import SMALL, small
from toys import ToyEncoder

from probing import load_encoder, load_task
from probing.encoders.base import States, pool
from probing.encoders.elmo.elmo import ELMoEncoder
from probing.encoders.networks.checkpoint import CheckpointEncoder
from probing.encoders.networks.recurrent import LSTM
from probing.encoders.networks.vocabulary import MASK, PAD, UNKNOWN
from probing.errors import ConfigError, EncoderError, GameError
from probing.interactions.game import CachedGame, TableGame, all_coalitions
from probing.interactions.segment import segment_interaction, segment_interactions
from probing.interactions.text.command import Interact
from probing.interactions.text.game import TextGame, drawn, text_interactions
from probing.interactions.text.heads import fit_head, head_of, load_head
from probing.interactions.text.masking import MaskedSentence, possible
from probing.training.classification import Classification
from probing.training.train import load_model, train

TEXT = "the cat's dog sees it"
OWNERS = [None, 0, 1, 1, 1, 2, 3, 4, None]  # [CLS] the cat ' s dog sees it [SEP]
ALL = all_coalitions(5)


def tiny_bert(tiny):
    return load_encoder("hf", name=str(tiny("bert")))


def v_f(layers, whole):
    """<f(S), f(N)> / ||f(N)||^2 of features {layer: (m, d)} and {layer: (d,)}."""
    return np.stack([(f.double() @ w.double() / (w.double() @ w.double())).numpy() for f, w in zip(layers, whole, strict=True)], 1)


def by_hand(encoder, forward, pooling):
    """Values of all coalitions, one forward call for each: `forward(present)` gives the states (tokens, d) of each layer."""
    rows = []
    for row in [np.ones(5, bool), *ALL]:
        layers = forward(np.array([owner is None or row[owner] for owner in OWNERS]))
        if pooling == "all":
            rows.append([layer.flatten() for layer in layers])
        else:
            mask = torch.ones(1, len(layers[0]), dtype=torch.bool)
            rows.append([x[0] for x in pool(States([layer[None] for layer in layers], mask), pooling)])
    return v_f([torch.stack(f) for f in zip(*rows[1:], strict=True)], rows[0])


@pytest.mark.parametrize("pooling", ["mean", "cls", "all"])
@pytest.mark.parametrize("masking", ["mask", "pad", "unknown", "zero", "mean", "attention", "delete"])
def test_masking_of_a_bert_is_what_its_name_says(tiny, masking, pooling):
    if (masking, pooling) == ("delete", "all"):
        return  # refused, below
    encoder = tiny_bert(tiny)
    ids = torch.tensor(encoder.tokenize([TEXT])[0][0])
    assert encoder.word_ids([TEXT])[0] == OWNERS
    model, table = encoder.model, encoder.model.get_input_embeddings().weight
    numbers = {"mask": 4, "pad": 0, "unknown": 1}  # of `toys.save_tiny`

    def forward(present):
        there = torch.from_numpy(present)
        attended = torch.ones(1, len(ids), dtype=torch.long)
        if masking in numbers:
            given = {"input_ids": torch.where(there, ids, numbers[masking])[None]}
        elif masking == "delete":
            given, attended = {"input_ids": ids[there][None]}, attended[:, there]
        elif masking == "attention":
            given, attended = {"input_ids": ids[None]}, there.long()[None]
        else:
            put = torch.zeros(16) if masking == "zero" else table.mean(0)
            given = {"inputs_embeds": torch.where(there[:, None], table[ids], put)[None]}
        with torch.no_grad():
            states = [h[0] for h in model(**given, attention_mask=attended, output_hidden_states=True).hidden_states]
        if masking == "attention":
            return [h * there[:, None] for h in states] if pooling == "all" else [h[there] for h in states]
        return states

    game = TextGame(encoder, TEXT, value=pooling, masking=masking)
    assert game.columns == ("0 embeddings", "1 block 1", "2 block 2")
    np.testing.assert_allclose(game(ALL), by_hand(encoder, forward, pooling), atol=2e-6)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "elmo-style"])
@pytest.mark.parametrize("masking", ["mask", "pad", "unknown", "zero", "mean", "delete"])
def test_masking_of_our_networks_is_what_its_name_says(name, masking):
    encoder = small(name)
    network, words = encoder.network, "the dog sees it again"
    ids = torch.tensor(encoder.tokenize([words])[0][0])
    numbers = {"mask": MASK, "pad": PAD, "unknown": UNKNOWN}
    found, whole = [], None
    for row in [np.ones(5, bool), *ALL]:
        there = torch.from_numpy(row)
        with torch.no_grad():
            x = network.embedding(ids)
            if masking == "delete":
                x = x[there]
            else:
                put = {"zero": torch.zeros(x.shape[1]), "mean": network.embedding.weight.mean(0)}
                put |= {key: network.embedding.weight[number] for key, number in numbers.items()}
                x = torch.where(there[:, None], x, put[masking])
            if not len(x):  # nothing is left: the features are zero by the rule
                found.append([torch.zeros_like(w) for w in whole])
                continue
            lengths, backward = torch.tensor([len(x)]), network.backward_dims
            stacks = [network.forwards(x[None], lengths)] if network.forwards is not None else []
            if network.backwards is not None:
                stacks.append([h.flip(1) for h in network.backwards(x[None].flip(1), lengths)])
            layers = [x[None], *(torch.cat(h, -1) for h in zip(*stacks, strict=True))]
            mask = torch.ones(1, len(x), dtype=torch.bool)
            features = [f[0] for f in pool(States(layers, mask, backward), encoder.architecture.pooling)]
        whole = whole or features
        found.append(features)
    expected = v_f([torch.stack(f) for f in zip(*found[1:], strict=True)], whole)
    game = TextGame(encoder, words, value=encoder.architecture.pooling, masking=masking)
    np.testing.assert_allclose(game(ALL), expected, atol=2e-6)


def test_attention_off_in_our_transformer_hides_keys_in_every_block():
    encoder = small("transformer")
    sentence = MaskedSentence(encoder, "the dog sees it again", "attention")
    coalitions = ALL[[0, 5, 31]]
    [(rows, states)] = sentence.run(coalitions)
    assert rows == [1, 2]  # nothing is left of the first
    assert states.mask.tolist() == coalitions[1:].tolist()
    from probing.encoders.networks.transformer import positions

    stack = encoder.network.forwards
    with torch.no_grad():
        h = encoder.network.embedding(torch.tensor([sentence.item])) * 8**0.5 + positions(5, 8, torch.device("cpu"))
        for block in stack.blocks:
            h = block(h, src_key_padding_mask=~torch.from_numpy(coalitions[1:2]))
        expected = stack.norm(h)[0][coalitions[1]]
    assert torch.allclose(states.layers[-1][0][coalitions[1]], expected, atol=1e-6)
    assert "attention" not in possible(small("transformer", reads="forward")) and "attention" not in possible(small("lstm"))


def test_zero_in_elmo_is_a_zero_token_vector_between_its_marks():
    encoder = small("elmo-style")
    assert possible(encoder) == ("zero", "delete", "replace")
    inner = encoder.network.inner
    row = np.array([[True, False, True, True, True]])
    [(_, states)] = MaskedSentence(encoder, "the dog sees it again", "zero").run(row)
    characters, lengths = encoder.network.batch(encoder.tokenize(["the dog sees it again"])[0])
    with torch.no_grad():
        vectors = inner.token_vectors(inner._bounded(characters, lengths))
        vectors[:, 2] = 0
        forward = inner._lstm(0, 0, vectors.transpose(0, 1), lengths + 2, None)
        backward = inner._lstm(1, 0, vectors.flip(1).transpose(0, 1), lengths + 2, None).flip(0)
    expected = torch.cat([forward, backward], 2).transpose(0, 1)[:, 1:-1]
    assert torch.allclose(states.layers[1], expected, atol=1e-6) and not states.layers[0][0, 1].any()
    assert "token_vectors" not in vars(inner)  # the encoder is as it was
    again = encoder.forward(encoder.tokenize(["the dog sees it again"])[0])
    assert not torch.allclose(again.layers[1], states.layers[1], atol=1e-3)


@pytest.mark.parametrize("name", SMALL)
def test_all_words_present_is_the_encoders_own_output(name):
    encoder = small(name)
    [own] = [encoder.forward(encoder.tokenize(["the dog sees it again"])[0])]
    for masking in possible(encoder):
        sentence = MaskedSentence(encoder, "the  dog sees it again ", masking, "thing" if masking == "replace" else None)
        [(_, states)] = sentence.run(np.ones((1, 5), bool))
        assert torch.equal(states.mask, own.mask)
        for mine, given in zip(states.layers, own.layers, strict=True):
            assert torch.allclose(mine, given, atol=1e-6)


def test_any_other_encoder_reads_the_text_anew(toy_encoder):
    assert possible(toy_encoder) == ("delete", "replace")
    coalitions = np.array([[True, False, True], [False, False, False]])
    for masking, replacement, texts in (("delete", None, ["a c", ""]), ("replace", "UNK", ["a UNK c", "UNK UNK UNK"])):
        found = {}
        for rows, states in MaskedSentence(toy_encoder, "a b c", masking, replacement).run(coalitions):
            found |= {row: pool(states, "mean")[2][i] for i, row in enumerate(rows)}
        expected = [pool(toy_encoder.forward(toy_encoder.tokenize([text])[0]), "mean")[2][0] for text in texts]
        for row in (0, 1):
            assert torch.allclose(found[row], expected[row], atol=1e-6)
    assert MaskedSentence(toy_encoder, "a b c", "replace", "UNK").masking == "replace 'UNK'"


# Games.


@pytest.mark.parametrize("masking", ["pad", "delete", "attention"])
def test_values_do_not_depend_on_batches_order_or_company(tiny, masking):
    encoder = tiny_bert(tiny)
    game = TextGame(encoder, TEXT, value="mean", masking=masking)
    whole = game(ALL)
    order = np.random.default_rng(0).permutation(32)
    np.testing.assert_allclose(game(ALL[order]), whole[order], atol=1e-5)
    np.testing.assert_allclose(TextGame(encoder, TEXT, "mean", masking, token_budget=1)(ALL), whole, atol=1e-5)
    np.testing.assert_array_equal(game(ALL), whole)


def test_all_layers_at_once_are_the_layers_one_by_one(tiny):
    encoder = tiny_bert(tiny)
    at_once = segment_interactions(TextGame(encoder, TEXT, "mean"), (1, 4))
    for layer, found in enumerate(at_once):
        alone = segment_interaction(TextGame(encoder, TEXT, "mean", layers=(layer,)), (1, 4))
        np.testing.assert_allclose(alone.phi, found.phi, atol=1e-7)
        assert alone.n_evaluations == found.n_evaluations


def test_word_vectors_alone_interact_nowhere():
    """Layer 0 with its tokens in place is additive: T = 0 (negative control); with deletion the mean is over what is left."""
    encoder = small("lstm")
    game = TextGame(encoder, "the dog sees it again", "mean", "pad", layers=(0,))
    found = segment_interaction(game, (0, 5))
    assert abs(found.T) < 1e-6 and abs(found.B) < 1e-6
    [result], rows = text_interactions(game, (1, 4))
    assert rows == 4 * 7 and result.T_relative < 1e-6
    assert result.interaction.max_partition == ((1, 2), (2, 3), (3, 4)) and len(result.interaction.max_partitions) == 4
    x = encoder.network.embedding(torch.tensor(game.sentence.item)).double().numpy()
    values = [x[row].mean(0) @ x.mean(0) / (x.mean(0) @ x.mean(0)) if row.any() else 0.0 for row in ALL]
    deleted = segment_interaction(TextGame(encoder, "the dog sees it again", "mean", "delete", layers=(0,)), (1, 4))
    np.testing.assert_allclose(deleted.phi, segment_interaction(TableGame(values), (1, 4)).phi, atol=1e-6)
    assert deleted.T > 1e-3


def test_a_bag_of_subwords_interacts_nowhere_whatever_fills_the_gap(tiny):
    bag = load_encoder("embeddings", name=str(tiny("bert")))
    assert possible(bag) == ("mask", "pad", "unknown", "zero", "mean", "delete", "replace")
    table = bag.model.weight.double().numpy()
    x = table[bag.tokenize([TEXT])[0][0]][1:-1]  # without [CLS] and [SEP]
    for masking, fill in (("zero", 0 * table[0]), ("mean", table.mean(0)), ("pad", table[0]), ("mask", table[4])):
        game = TextGame(bag, TEXT, "mean", masking)
        kept = ALL[:, OWNERS[1:-1]]  # (32, tokens)
        expected = np.where(kept[..., None], x, fill).mean(1) @ x.mean(0) / (x.mean(0) @ x.mean(0))
        np.testing.assert_allclose(game(ALL), expected, atol=1e-6)
        found = segment_interaction(game, (1, 4))
        assert abs(found.T) < 1e-6 and abs(found.B) < 1e-6


@pytest.fixture(scope="module")
def xor(tmp_path_factory):
    """A checkpoint of an LSTM that knows whether the first two words of three differ, and the folder of its data."""
    root = tmp_path_factory.mktemp("xor")
    rows = [f"{int(a != b)} {a} {b} {c}" for a, b in itertools.product(["yes", "no"], repeat=2) for c in "pqr"]
    for split in ("train", "dev", "test"):
        (root / f"stsa.binary.{split}").write_text("\n".join(rows) + "\n")
    objective = Classification(min_count=1, epochs=15, batch_tokens=24, lr=0.1, warmup=1, dropout=0.0, decay="linear", patience=15)
    folder = train(LSTM(embedding_dim=8, hidden=24, dropout=0.0), objective, root, root / "made")
    return folder, root


def test_two_words_that_decide_together_interact(xor):
    encoder = CheckpointEncoder(str(xor[0]))
    assert head_of(encoder).made["test"]["accuracy"] == 1.0
    [found], rows = text_interactions(TextGame(encoder, "yes no p", "log-odds"), (0, 3))
    assert found.column == "1" and found.T_relative > 0.2 and rows == 7
    assert found.interaction.max_partition == ((0, 2), (2, 3))  # yes and no, without the third word
    [deeper], _ = text_interactions(TextGame(encoder, "yes no p", "mean", layers=(1,)), (0, 2))
    [words], _ = text_interactions(TextGame(encoder, "yes no p", "mean", layers=(0,)), (0, 2))
    assert deeper.interaction.T > 1e-2 > 1e-6 > words.interaction.T


def test_class_values_are_those_of_the_trained_model(xor):
    folder, root = xor
    encoder = CheckpointEncoder(str(folder))
    model, _ = load_model(folder, root)
    game = TextGame(encoder, "yes no p", "logit", "delete", target="all")
    rows = all_coalitions(3)
    found = game(rows)
    [ids] = encoder.tokenize(["yes no p"])[0]
    with torch.no_grad():
        for row, values in zip(rows[1:], found[1:], strict=True):
            np.testing.assert_allclose(values, model([[i for i, there in zip(ids, row, strict=True) if there]])[0], atol=1e-5)
        np.testing.assert_allclose(found[0], model.head[1].bias, atol=1e-6)  # nothing left: the head on the zero vector
    assert game.columns == ("0", "1") and game.predicted == "1"
    p = torch.from_numpy(found).softmax(1).numpy()
    np.testing.assert_allclose(TextGame(encoder, "yes no p", "probability", "delete", target="0")(rows), p[:, 0], atol=1e-6)
    log_odds = TextGame(encoder, "yes no p", "log-odds", "delete")(rows)
    np.testing.assert_allclose(log_odds, np.log(p[:, 1] / p[:, 0]), atol=1e-4)
    np.testing.assert_allclose(TextGame(encoder, "yes no p", masking="delete")(rows), found[:, 1])  # logit of the predicted class
    assert head_of(replace(encoder, random_weights=True)) is None and head_of(replace(encoder, states=["hidden", "cell"])) is None


def test_nothing_left_of_a_sentence_is_zero_and_no_crash(tiny):
    nothing = np.zeros((1, 5), bool)
    for name in SMALL:
        for masking in {"delete", "attention"} & set(possible(small(name))):
            assert (TextGame(small(name), "the dog sees it again", "mean", masking)(nothing) == 0).all()
    bert = tiny_bert(tiny)
    assert (TextGame(bert, TEXT, "mean", "delete")(nothing) != 0).all()  # [CLS] and [SEP] stay
    bare = load_encoder("hf", name=str(tiny("bert")), special_tokens=False)
    for masking in ("delete", "attention"):
        assert (TextGame(bare, TEXT, "mean", masking)(nothing) == 0).all()
    for kind, masking in itertools.product(("gpt2", "llama", "t5"), ("delete", "attention")):
        game = TextGame(load_encoder("hf", name=str(tiny(kind))), TEXT, "mean", masking)
        assert (game(nothing) == 0).all() and np.isfinite(game(ALL)).all()


def test_a_game_counts_each_coalition_once(toy_encoder):
    game = TextGame(toy_encoder, "a b c d", "mean", "delete")
    before, counted = toy_encoder.sentences, CachedGame(game)
    counted(np.concatenate([all_coalitions(4), all_coalitions(4)]))
    assert counted.n_evaluations == toy_encoder.sentences - before == 16


# Heads.


def test_a_head_is_fitted_on_a_frozen_layer_saved_and_read(toy_root, toy_encoder, tmp_path):
    task = load_task("bigram_shift", toy_root)
    head = fit_head(toy_encoder, task, layer=0)
    assert min(head.made["dev"], head.made["test"]) > 0.65 and head.classes == ("I", "O") and head.layer == 0
    from sklearn.linear_model import LogisticRegression

    states = {s: toy_encoder.forward(toy_encoder.tokenize(part.texts)[0]) for s, part in task.splits.items()}
    x = {s: pool(found, "mean")[0].double().numpy() for s, found in states.items()}
    mean, std = x["train"].mean(0), x["train"].std(0)
    reference = LogisticRegression(C=head.made["C"], max_iter=5000).fit((x["train"] - mean) / std, task.train.labels)
    logits = head.logits(x["test"])
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], reference.decision_function((x["test"] - mean) / std), atol=1e-3)
    again = load_head(head.save(tmp_path / "head"), toy_encoder)
    np.testing.assert_array_equal(again.coef, head.coef)
    game = TextGame(toy_encoder, task.test.texts[0], "logit", "delete", head=again)
    row = np.ones((1, game.n_players), bool)
    np.testing.assert_allclose(game(row), logits[0].max(), atol=1e-5)
    with pytest.raises(EncoderError, match="was fitted on toy, other vectors than"):
        load_head(tmp_path / "head", toy_encoder.random_twin(1))
    with pytest.raises(EncoderError, match="is no folder of a fitted head"):
        load_head(tmp_path, toy_encoder)
    with pytest.raises(ConfigError, match="has 3 layers and the poolings cls, mean"):
        fit_head(toy_encoder, task, layer=3)


class DeadOutput(ToyEncoder):
    """Layer 0 with one more output of size 1e-20, which says how long the sentence is."""

    dims = (13, 12, 12)

    def forward(self, items):
        states = super().forward(items)
        length = states.mask.sum(1)[:, None, None].expand(*states.mask.shape, 1)
        return States([torch.cat([states.layers[0], 1e-20 * length], 2), *states.layers[1:]], states.mask)


def test_a_dead_output_is_no_feature_of_a_head(toy_root, toy_encoder):
    task = load_task("bigram_shift", toy_root)
    head, without = (fit_head(encoder, task, layer=0) for encoder in (DeadOutput(), toy_encoder))
    assert (head.coef[:, -1] == 0).all()
    np.testing.assert_allclose(head.coef[:, :-1], without.coef)


# Bad input.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "  "}, "the text holds no word"),
        ({"masking": "maks"}, r"masking='maks' is unknown; did you mean 'mask'\? \(allowed: mask, pad"),
        ({"masking": "attention"}, r"not possible for lstm.*allowed: mask, pad, unknown, zero, mean, delete, replace\)"),
        ({"masking": "replace"}, "give replacement=WORD with masking=replace"),
        ({"replacement": "UNK"}, "give replacement=WORD with masking=replace, and only then"),
        ({"value": "cls"}, "value='cls' is unknown.*allowed: logit, log-odds, probability, mean, max, last, all"),
        ({"value": "logit"}, "needs a classifier, and lstm.* has no head"),
        ({"value": "all", "masking": "delete"}, "value=all compares token by token"),
        ({"layers": (3,)}, "has the layers 0 to 2"),
        ({"layers": ()}, "has the layers 0 to 2"),
    ],
)
def test_what_cannot_be_asked_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TextGame(small("lstm"), **{"text": "the dog", **options})


def test_sentences_too_long_unknown_classes_and_features_without_a_unit_are_refused(tiny, xor, tmp_path):
    with pytest.raises(ConfigError, match="a sentence of 40 words is longer than .* reads"):
        TextGame(tiny_bert(tiny), "cat " * 40, "mean")
    with pytest.raises(ConfigError, match="longer than"):  # each word becomes two
        TextGame(tiny_bert(tiny), "cat " * 20, "mean", "replace", "a b")(np.zeros((1, 20), bool))
    with pytest.raises(ConfigError, match=r"target='2' is no class \(allowed: predicted, all, 0, 1\)"):
        TextGame(CheckpointEncoder(str(xor[0])), "yes no", target="2")
    with pytest.raises(ConfigError, match="stateful"):
        TextGame(ELMoEncoder("o.json", "w.hdf5", stateful=True), "a b", "mean", "zero")
    encoder = small("lstm")
    encoder.network.embedding.weight[:] = 0
    with pytest.raises(GameError, match="layer 0 embeddings of .* is zero"):
        TextGame(encoder, "the dog", "mean")


def test_interact_says_what_is_wrong_with_its_options():
    for options, message in (
        ({"segment": "1:3"}, r"segment=1:3: give start:stop in words, 0 <= start < stop <= 2, such as segment=0:2"),
        ({"segment": "1"}, "segment=1: give start:stop in words"),
        ({"segment": "1:1"}, "segment=1:1: give start:stop in words"),
        ({"layers": (7,)}, "has the layers 0 to 2"),
        ({"text": "a " * 30, "segment": "0:3"}, r"takes 2\^27 x 7 = .* use method=regression or sampled"),
        ({"text": "a " * 30, "segment": "0:3", "method": "sampled", "budget": 5}, "budget=5: method=sampled needs at least"),
    ):
        with pytest.raises(ConfigError, match=message):
            Interact(**{"text": "a b", **options}).run(small("lstm"))
    with pytest.raises(EncoderError, match="head='nowhere' is no folder of a fitted head"):
        Interact("a b", head="nowhere").run(small("lstm"))


def test_parts_are_drawn_as_brackets():
    words = tuple("The movie is not very good .".split())
    assert drawn(words, ((3, 6),)) == "The movie is [not very good] ."
    assert drawn(words, ((0, 2), (2, 3), (3, 7))) == "[The movie] is [not very good .]"
