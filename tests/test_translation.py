"""Models with encoder and decoder: the library's loss, the laws of conditional probability, and a copy rule that they learnt."""

import json

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from probing.behaviour.base import BETWEEN
from probing.behaviour.models import language_model, language_models
from probing.behaviour.readers import PairFile
from probing.behaviour.scores import Convention, score
from probing.behaviour.templates import Contrastive
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.encoders.hf.loaded import LoadedModel
from probing.errors import ConfigError, DataError, EncoderError
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context
from probing.studies.minimal_pairs import MinimalPairs

WORDS = ["der", "die", "hund", "katze", "sieht", "the", "dog", "cat", "sees", "a", "."]
TEXTS = ["the dog sees a cat .", "a cat", "the cat sees"]
TARGETS = ["der hund sieht die katze .", "die katze .", "die katze sieht"]
PAIRS = [f"{source}{BETWEEN}{target}" for source, target in zip(TEXTS, TARGETS, strict=True)]


def tokenizer_of(kind):
    """Words; T5's and Marian's form ends with </s>, BART's has <s> before, too."""
    vocabulary = {word: k for k, word in enumerate(["<pad>", "<unk>", "<s>", "</s>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    form = "<s> $A </s>" if kind == "bart" else "$A </s>"
    tokenizer.post_processor = processors.TemplateProcessing(form, special_tokens=[("<s>", 2), ("</s>", 3)])
    marks = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"} | ({"bos_token": "<s>"} if kind == "bart" else {})
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=24, **marks)


def made(kind, layers=2):
    """A random model of a kind, with larger weights than usual, so that mistakes show."""
    n, sizes = 4 + len(WORDS), {"encoder_layers": layers, "decoder_layers": layers, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_model": 16, "max_position_embeddings": 24}
    if kind == "t5":
        config = transformers.T5Config(
            vocab_size=n, d_model=16, d_kv=8, d_ff=32, num_layers=layers, num_heads=2, pad_token_id=0, eos_token_id=3,
            decoder_start_token_id=0, dropout_rate=0.0,
        )  # fmt: skip
    elif kind == "marian":
        config = transformers.MarianConfig(vocab_size=n, pad_token_id=0, eos_token_id=3, decoder_start_token_id=0, **sizes)
    else:
        config = transformers.BartConfig(
            vocab_size=n, pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=3, **sizes
        )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = transformers.AutoModelForSeq2SeqLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:  # Marian's sinusoids are not saved
                    parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    home, kept = tmp_path_factory.mktemp("translation"), {}

    def get(kind):
        if kind not in kept:
            model, folder = made(kind), home / kind
            model.save_pretrained(folder)
            tokenizer_of(kind).save_pretrained(folder)
            kept[kind] = folder, model
        return kept[kind]

    return get


KINDS = ("t5", "marian", "bart")


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_library_s_loss(saved, kind):
    folder, whole = saved(kind)
    model = language_model(HuggingFaceEncoder(str(folder)), sources=True)
    tokenizer = tokenizer_of(kind)
    ended, left = (score(model, [(pair, None) for pair in PAIRS], Convention(end=end)) for end in ("score", "leave"))
    for k, (source, target) in enumerate(zip(TEXTS, TARGETS, strict=True)):
        inputs, labels = (tokenizer(text, return_tensors="pt").input_ids for text in (source, target))
        first = int(kind == "bart")  # its <s> is a condition, which the loss counts
        with torch.no_grad():
            logits = whole(input_ids=inputs, labels=labels).logits.log_softmax(-1)[0]
            loss = whole(input_ids=inputs, labels=labels).loss * labels.shape[1]
        begin = float(logits[0, labels[0, 0]]) * first
        assert ended.log_p[k].sum() == pytest.approx(-float(loss) - begin, abs=1e-4)
        assert left.log_p[k].sum() == pytest.approx(-float(loss) - begin - float(logits[-1, 3]), abs=1e-4)
        assert model.pieces(left.ids[k].tolist()) == target.split() and ended.ids[k][-1] == 3
    start = "</s>" if kind == "bart" else "<pad>"
    assert Convention().named(model) == f"forward given the source, decoder starts with {start}, end=leave"


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_add_up_and_depend_on_the_source_and_on_what_stands_before(saved, kind):
    folder, _ = saved(kind)
    encoder = HuggingFaceEncoder(str(folder))
    model = language_model(encoder, sources=True)
    items, n_cut = model.tokenize(PAIRS)
    rows = model.log_probabilities(items)
    assert n_cut == 0 and all(row.exp().sum(1).numpy() == pytest.approx(1, abs=1e-5) for row in rows)
    for row, item in zip(rows, items, strict=True):
        assert model.log_probabilities([item])[0].numpy() == pytest.approx(row.numpy(), abs=1e-5)
    changed = model.with_token(items[0], [3], items[0][4][0])
    [other] = model.log_probabilities([changed])
    same = np.isclose(rows[0].numpy(), other.numpy(), atol=1e-6).all(1)
    assert same[:4].all() and not same[4:].any()
    moved, _ = model.tokenize([f"{TEXTS[2]}{BETWEEN}{TARGETS[0]}"])
    assert not np.isclose(model.log_probabilities(moved)[0].numpy(), rows[0].numpy(), atol=1e-4).all(1).any()
    # one target of two sources: nothing of the one is taken for the other
    both = [(f"{source}{BETWEEN}{TARGETS[0]}", None) for source in TEXTS[:2]]
    together, alone = score(model, both, Convention()), [score(model, [one], Convention()).log_p[0] for one in both]
    for a, b in zip(together.log_p, alone, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    assert model.whole.get_encoder() is encoder.model, "what changes a layer of the encoder reaches the target"
    twin = language_model(encoder.random_twin(1), sources=True)
    assert not np.allclose(twin.log_probabilities(twin.tokenize(PAIRS)[0])[0], rows[0], atol=1e-2)


def test_a_model_in_memory_gives_the_same_and_stays_as_it_is(saved):
    for kind in ("t5", "bart"):
        folder, whole = saved(kind)
        own = language_model(HuggingFaceEncoder(str(folder)), sources=True)
        whole.train().requires_grad_(True)
        loaded = language_model(LoadedModel(name="x", loaded=whole, loaded_tokenizer=tokenizer_of(kind)), sources=True)
        rows = [model.log_probabilities(model.tokenize(PAIRS)[0]) for model in (own, loaded)]
        for a, b in zip(*rows, strict=True):
            assert a.numpy() == pytest.approx(b.numpy(), abs=1e-5)
        assert loaded.head_sha256 and all(p.requires_grad for p in whole.parameters()) and whole.get_decoder().training
        whole.eval()


def test_what_cannot_be_scored_is_refused_in_one_sentence(saved, tiny, tmp_path):
    with pytest.raises(
        EncoderError, match="has no sequence-to-sequence head: items with a source need encoder=hf with an encoder-decoder"
    ):
        language_models(HuggingFaceEncoder(str(tiny("gpt2"))), sources=True)
    encoder = HuggingFaceEncoder(str(saved("t5")[0]))
    with pytest.raises(EncoderError, match="which scores a text given its source: data=contrastive"):
        language_model(encoder)
    model = language_model(encoder, sources=True)
    with pytest.raises(DataError, match="a translation of 'the dog', has no token"):
        model.tokenize([f"the dog{BETWEEN}"])
    long = " ".join(["dog"] * 30)
    scores = score(model, [(f"{long}{BETWEEN}hund", None), (PAIRS[0], None)], Convention())
    assert scores.cut.tolist() == [True, False]
    folder = tmp_path / "encoder alone"
    transformers.T5EncoderModel(saved("t5")[1].config).save_pretrained(folder)
    tokenizer_of("t5").save_pretrained(folder)
    with pytest.raises(EncoderError, match="has no sequence-to-sequence head"):
        language_model(HuggingFaceEncoder(str(folder)), sources=True)


def test_a_model_that_learnt_to_copy_prefers_the_copy(tmp_path):
    model, tokenizer = made("t5", layers=1).train(), tokenizer_of("t5")
    words = torch.arange(4, 4 + len(WORDS))
    batch = torch.stack([words, torch.full_like(words, 3)], 1)  # a word and </s>
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder = tmp_path / "copy"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rows = []
    for k, word in enumerate(WORDS):
        others = [WORDS[(k + step) % len(WORDS)] for step in (1, 4)]
        errors = [{"type": "copy", "contrastive": other, "frequency": 10 if k % 2 else 900, "distance": k} for other in others]
        rows.append({"source": word, "reference": word, "errors": errors})
    (tmp_path / "items").mkdir()
    (tmp_path / "items" / "a.json").write_text(json.dumps(rows))
    encoder = HuggingFaceEncoder(str(folder))

    def measured(source):
        stores = ResultStore(tmp_path / "cells"), Store(tmp_path / "store")
        return MinimalPairs(floors=["shorter", "random"], end="score").measure(
            Context(lambda: encoder, list, (0,), *stores, tmp_path, lambda: source)
        )

    frame = measured(Contrastive(str(tmp_path / "items")))
    assert (frame.credit == 1).all() and (frame.chance == 1 / 3).all() and len(frame) == len(WORDS)
    assert frame.random.mean() < 1 and set(frame["facet sense frequency"]) == {"0-20", "500-1000"}
    assert {"0", "5", "6-10"} <= set(frame["facet distance"])
    assert frame.protocol.iloc[0] == "forward given the source, decoder starts with <pad>, end=score"
    (tmp_path / "own.jsonl").write_text('{"source": "dog", "right": "dog", "wrong": "cat"}\n')
    assert measured(PairFile(str(tmp_path / "own.jsonl"))).credit.tolist() == [1]
    with pytest.raises(EncoderError, match="which scores a text given its source"):
        measured(Contrastive(str(tmp_path / "items"), target_only=True))
    with (tmp_path / "own.jsonl").open("a") as file:
        file.write('{"right": "dog", "wrong": "cat"}\n')
    with pytest.raises(ConfigError, match="some items of data=pairs have a source, and others none"):
        measured(PairFile(str(tmp_path / "own.jsonl")))
