"""Encoders as language models: the laws of conditional probability, and reference values of an independent implementation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from probing.behaviour.models import language_model, language_models
from probing.encoders.elmo.textgenrnn import TextgenrnnEncoder
from probing.encoders.hf.embeddings import InputEmbeddings
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.encoders.hf.loaded import LoadedModel
from probing.encoders.networks.checkpoint import CheckpointEncoder
from probing.encoders.networks.convolutional import GatedCNN
from probing.encoders.networks.recurrent import LSTM
from probing.encoders.networks.transformer import Transformer
from probing.errors import EncoderError
from probing.training.language_model import LanguageModel
from probing.training.train import load_model, train

TEXT = "the dogs near the cat are lost ."


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A text of 160 sentences of 60 words."""
    rng = np.random.default_rng(0)
    words = ["the", "dogs", "near", "cat", "are", "is", "lost", ".", *(f"w{k}" for k in range(52))]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    lines = [" ".join(rng.choice(words, size=rng.integers(3, 9))) for _ in range(160)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


NETWORKS = {
    "lstm": lambda: LSTM(embedding_dim=8, hidden=8, layers=2, reads="both"),
    "gated-cnn": lambda: GatedCNN(embedding_dim=8, channels=8, layers=2, reads="both"),
    "transformer": lambda: Transformer(embedding_dim=8, heads=2, layers=2, reads="forward"),
    "masked": lambda: Transformer(embedding_dim=8, heads=2, layers=2, reads="all"),
}


@pytest.fixture(scope="session")
def trained(corpus, tmp_path_factory):
    """Folders of tiny language models: `trained("lstm")`."""
    home, made = tmp_path_factory.mktemp("checkpoints"), {}

    def get(kind, tokens="words"):
        if (kind, tokens) not in made:
            objective = LanguageModel(epochs=1, dev_share=10, min_count=1, batch_tokens=256, tokens=tokens, vocabulary=320)
            made[kind, tokens] = train(NETWORKS[kind](), objective, corpus, home)
        return made[kind, tokens]

    return get


@pytest.fixture
def lstm_oracle(shared, tmp_path):
    """The reference LSTM as a checkpoint of this suite with a plain softmax."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    source = shared / "oracles" / "behaviour_models" / "lstm"
    given, config = load_file(source / "model.safetensors"), json.loads((source / "config.json").read_text())
    tensors = {"embedding.weight": given["embedding.weight"]}
    for k in range(config["layers"]):
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            tensors[f"forwards.layers.{k}.{part}_l0"] = given[f"lstm.{part}_l{k}"]
    save_file(tensors, tmp_path / "model.safetensors")
    save_file({"head.weight": given["decoder.weight"], "head.bias": given["decoder.bias"]}, tmp_path / "head.safetensors")
    options = {"embedding_dim": config["embedding"], "hidden": config["hidden"], "layers": config["layers"]}
    target = {"_target_": "probing.encoders.networks.recurrent.LSTM"}
    (tmp_path / "config.json").write_text(json.dumps(target | options))
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(config["words"])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.normalizer = pre_tokenizers.WhitespaceSplit(), normalizers.Lowercase()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str())
    return CheckpointEncoder(str(tmp_path), label="oracle")


@pytest.mark.shared
def test_an_lstm_gives_the_reference_values(shared, lstm_oracle):
    model = language_model(lstm_oracle)
    for sentence in json.loads((shared / "oracles" / "behaviour.json").read_text())["sentences"]:
        wanted = sentence["lstm"]
        items, _ = model.tokenize([sentence["text"]])
        assert list(items[0]) == wanted["ids"]
        [row] = model.chosen(items, model.targets([sentence["text"]]))
        assert row[1:].tolist() == pytest.approx([*wanted["tokens"], wanted["eos"]], abs=1e-5)


@pytest.mark.shared
def test_a_causal_model_of_transformers_gives_the_reference_values(shared):
    model = language_model(HuggingFaceEncoder(str(shared / "oracles" / "behaviour_models" / "causal")))
    assert (model.kind, model.begin, model.end) == ("causal", 2, 3)
    for sentence in json.loads((shared / "oracles" / "behaviour.json").read_text())["sentences"]:
        wanted = sentence["causal"]
        items, _ = model.tokenize([sentence["text"]])
        [row] = model.chosen(items, model.targets([sentence["text"]]))
        assert row[1:].tolist() == pytest.approx([*wanted["tokens_after_bos"], wanted["eos"]], abs=1e-4)


def with_heads(tiny, tmp_path):
    """Tiny models of transformers saved with a head."""
    import transformers

    made = []
    for kind, cls in (("bert", transformers.BertForMaskedLM), ("gpt2", transformers.GPT2LMHeadModel)):
        folder = tmp_path / kind
        torch.manual_seed(0)
        whole = cls(transformers.AutoConfig.from_pretrained(tiny(kind)))
        whole.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(tiny(kind)).save_pretrained(folder)
        made.append((HuggingFaceEncoder(str(folder)), whole.eval()))
    return made


def test_probabilities_sum_to_one_and_depend_on_one_side_only(trained, tiny, tmp_path):
    encoders = [CheckpointEncoder(str(trained(kind))) for kind in NETWORKS] + [e for e, _ in with_heads(tiny, tmp_path)]
    for model in (m for encoder in encoders for m in language_models(encoder)):
        items, _ = model.tokenize(["the dog sees a cat", "the cat", "the dog sees a dog"])
        rows = model.log_probabilities(items)
        where = (model.name, model.direction)
        for item, row in zip(items, rows, strict=True):
            assert len(row) == len(item), where
            defined = row.isfinite().all(1)
            assert row[defined].exp().sum(1).numpy() == pytest.approx(1, abs=1e-5), where
            lost = {"forward": [0], "backward": [len(item) - 1], "all": []}[model.direction]
            assert (~defined).nonzero().flatten().tolist() == lost, where
        alone = [model.log_probabilities([item])[0] for item in items]
        for row, other in zip(rows, alone, strict=True):
            assert row.numpy() == pytest.approx(other.numpy(), abs=1e-5, nan_ok=True), where
        short = model.chosen(items, [list(map(int, item)) for item in items])
        for item, row, chosen in zip(items, rows, short, strict=True):
            assert chosen.numpy() == pytest.approx(row[range(len(item)), list(item)].numpy(), abs=1e-5, nan_ok=True), where
        # another last word: nothing before it changes in a forward model, all before it may in the others
        changed = model.with_token(items[0], [len(items[0]) - 2], int(items[0][1]))
        [other] = model.log_probabilities([changed])
        same = np.isclose(rows[0].numpy(), other.numpy(), atol=1e-6, equal_nan=True).all(1)
        if model.direction == "forward":
            assert same[: len(items[0]) - 1].all(), where
        else:
            assert not same[1:-2].any(), where


def test_a_head_of_transformers_sits_on_the_encoder_s_own_modules(tiny, tmp_path):
    for encoder, whole in with_heads(tiny, tmp_path):
        model = language_model(encoder)
        items, _ = model.tokenize(["the dog sees a cat"])
        with torch.no_grad():
            wanted = whole(torch.tensor(items)).logits.log_softmax(-1)[0]
        [row] = model.log_probabilities(items)
        shift = 1 if model.kind == "causal" else 0
        assert row[shift:].numpy() == pytest.approx(wanted[: len(wanted) - shift].numpy(), abs=1e-5)
        block = next(m for name, m in encoder.model.named_modules() if name.endswith((".0", "h.0")))

        def zero(module, args, output):
            return torch.zeros_like(output) if isinstance(output, torch.Tensor) else (torch.zeros_like(output[0]), *output[1:])

        hook = block.register_forward_hook(zero)
        assert not np.allclose(model.log_probabilities(items)[0][1:], row[1:])
        hook.remove()
        assert model.log_probabilities(items)[0].numpy() == pytest.approx(row.numpy(), abs=0, nan_ok=True)
        tokenizer = encoder.tokenizer
        loaded = language_model(LoadedModel(name="x", loaded=whole, loaded_tokenizer=tokenizer))
        assert loaded.log_probabilities(items)[0].numpy() == pytest.approx(row.numpy(), abs=1e-5, nan_ok=True)
        assert loaded.head_sha256 and whole.base_model is not loaded.encoder.model
        twin = language_model(encoder.random_twin(1))
        assert not np.allclose(twin.log_probabilities(items)[0][1:], row[1:])


def test_a_gpt_gets_no_token_types_of_another_family_s_tokenizer(tiny, tmp_path):
    """It would add the vector of word 0 to every token."""
    import transformers

    folder = tmp_path / "gpt2"
    whole = transformers.GPT2LMHeadModel(transformers.AutoConfig.from_pretrained(tiny("gpt2"))).eval()
    whole.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text((tiny("gpt2") / name).read_text())
    options = json.loads((folder / "tokenizer_config.json").read_text())
    options["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(options))
    encoder = HuggingFaceEncoder(str(folder))
    assert encoder.description["token_types"] == "not given"
    assert "token_types" not in HuggingFaceEncoder(str(tiny("gpt2"))).description, "and other keys are as they were"
    items, _ = encoder.tokenize(["the dog sees a cat"])
    with torch.no_grad():
        wanted = whole(torch.tensor(items)).logits.log_softmax(-1)[0]
        typed = whole(torch.tensor(items), token_type_ids=torch.zeros(1, len(items[0]), dtype=int)).logits.log_softmax(-1)[0]
    row = language_model(encoder).log_probabilities(items)[0][1:].numpy()
    assert row == pytest.approx(wanted[:-1].numpy(), abs=1e-5) and not np.allclose(row, typed[:-1].numpy(), atol=1e-3)


def test_the_loss_of_the_training_is_the_sum_of_both_directions(trained, corpus):
    folder = trained("lstm")
    predictor, prepared = load_model(folder, corpus)
    items = prepared.items["test"][:5]
    with torch.no_grad():
        losses = predictor(items, items, 0)
    for model in language_models(CheckpointEncoder(str(folder))):
        rows = model.chosen(items, items)
        assert -sum(float(row.nansum()) for row in rows) == pytest.approx(float(losses[model.direction][0]), rel=1e-5)


def test_the_cell_states_of_an_lstm_change_nothing(trained):
    folder = str(trained("lstm"))
    both = language_model(CheckpointEncoder(folder, states=["hidden", "cell"]))
    items, _ = both.tokenize([TEXT])
    plain = language_model(CheckpointEncoder(folder)).log_probabilities(items)[0]
    assert both.log_probabilities(items)[0].numpy() == pytest.approx(plain.numpy(), abs=1e-5, nan_ok=True)
    with pytest.raises(EncoderError, match="leaves out hidden"):
        language_model(CheckpointEncoder(folder, states=["cell"]))


def test_a_model_without_a_head_is_refused_in_one_sentence(tiny, toy_encoder):
    for encoder in (
        HuggingFaceEncoder(str(tiny("bert"))),
        InputEmbeddings(str(tiny("bert"))),
        LSTM(),
        toy_encoder,
    ):
        with pytest.raises(EncoderError, match="has no language-model head: behaviour needs encoder=checkpoint of probing train"):
            language_model(encoder)


def test_a_direction_that_is_not_there_is_refused(trained):
    encoder = CheckpointEncoder(str(trained("transformer")))
    with pytest.raises(EncoderError, match="reads forward, not backward"):
        language_model(encoder, "backward")


@pytest.mark.shared
def test_textgenrnn_predicts_characters(shared):
    folder = shared / "data" / "weights" / "textgenrnn"
    options = [str(folder / name) for name in ("textgenrnn_weights.hdf5", "textgenrnn_vocab.json")]
    model = language_model(TextgenrnnEncoder(*options))
    texts = ["The cat sat on the mat.", "zqxj vvkq"]
    items, _ = model.tokenize(texts)
    rows, targets = model.log_probabilities(items), model.targets(texts)
    assert all(row.exp().sum(1).numpy() == pytest.approx(1, abs=1e-5) for row in rows)
    good, bad = (float(row.mean()) for row in model.chosen(items, targets))
    assert -2.5 < good < -1.0 and bad < good - 2, "English is far more likely than letters at random"
    assert "".join(model.pieces(targets[0])) == texts[0]
    twin = language_model(TextgenrnnEncoder(*options).random_twin(0))
    assert float(twin.chosen(items, targets)[0].mean()) < -4
