"""What was loaded is what the folder holds: tokenizers, ids, other inputs, positions, weights; or it is refused in one sentence."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from architectures import LEARNED, TEXTS, build, plain_states, save, tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from probing import load_encoder
from probing.encoders.base import fingerprint
from probing.encoders.conformance import TOLERANCE
from probing.encoders.hf import folders as hub
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.encoders.hf.textmodel import TextModel
from probing.errors import EncoderError, ForeignError, StatesError, foreign
from probing.interactions.text.masking import MaskedSentence, possible
from probing.store.extraction import extract
from probing.store.vectors import Store
from probing.types import Representation

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 64}


def encoder_of(model, folder: Path, tokens=None) -> HuggingFaceEncoder:
    return load_encoder("hf", name=str(save(model, folder, tokens)))


def vectors(encoder, texts=TEXTS, pooling="mean") -> list[np.ndarray]:
    columns = extract(encoder, encoder.tokenize(texts)[0], (pooling,))
    return [columns[Representation(layer, pooling)] for layer in range(len(encoder.dims))]


def means(model, tokens, texts=TEXTS) -> list[np.ndarray]:
    return [np.stack([state.mean(0) for state in layer]) for layer in zip(*plain_states(model, tokens, texts), strict=True)]


def apart(some, others) -> float:
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(some, others, strict=True))


# Tokenizers.


@pytest.mark.parametrize(
    "config",
    [
        transformers.BertConfig(**SMALL),
        transformers.RobertaConfig(**SMALL, max_position_embeddings=34, pad_token_id=1),
        transformers.GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2),
        transformers.MPNetConfig(**SMALL),
        transformers.GemmaConfig(**SMALL, num_key_value_heads=1, head_dim=8),
        transformers.T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2),
    ],
    ids=lambda config: config.model_type,
)
@pytest.mark.parametrize("kept", [(), ("tokenizer_config.json",), ("tokenizer_config.json", "special_tokens_map.json")])
def test_a_folder_without_a_vocabulary_is_refused(config, kept, tmp_path):
    model = transformers.AutoModel.from_config(config)
    own = transformers.models.auto.tokenization_auto.TOKENIZER_MAPPING_NAMES.get(config.model_type)
    save(model, tmp_path)
    for file in tmp_path.iterdir():
        if file.name not in ("config.json", "model.safetensors", *kept):
            file.unlink()
    if kept:  # as a training run leaves them: the class is named, its files are not there
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": own if isinstance(own, str) else own[-1]}))
    with pytest.raises(EncoderError, match=r"(holds (no tokenizer files|none of the files)|the tokenizer cannot be loaded)"):
        load_encoder("hf", name=str(tmp_path)).tokenize(["The cat"])


def test_a_vocabulary_of_other_texts_is_refused(tmp_path):
    encoder = encoder_of(build("bert"), tmp_path, tokenizer(words=LEARNED[:5] + ["unrelated"]))
    with pytest.raises(EncoderError, match=r"\d+ of \d+ tokens are unknown: the tokenizer of .* is not for these texts"):
        encoder.tokenize([f"The cat {word}" for word in LEARNED])


def test_a_tokenizer_that_tells_no_sentences_apart_is_refused(tmp_path):
    tokens = Tokenizer(models.WordLevel({word: k for k, word in enumerate(LEARNED)}, unk_token="."))  # "." is a word, too
    tokens.pre_tokenizer = pre_tokenizers.Split(Regex(r".+"), "isolated")
    encoder = encoder_of(build("bert"), tmp_path, transformers.PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="[PAD]"))
    with pytest.raises(EncoderError, match="30 of 31 sentences have the tokens of another one|tokens are unknown"):
        encoder.tokenize([f"The cat {k}" for k in range(31)])


def test_unknown_tokens_and_equal_sentences_are_counted_in_the_store(tmp_path, capsys):
    encoder = encoder_of(build("bert"), tmp_path / "m")
    texts = ["The cat runs .", "The cow runs .", "The pig runs .", "Dogs bark"]
    reading = Store(tmp_path / "store").vectors(encoder, texts, ["mean"]).reading
    assert reading == {"truncated": 0, "alike": 1, "tokens": 14, "unknown": 2}
    messages = capsys.readouterr().err
    assert "1 of 4 sentences have the tokens of another one" in messages and "2 of 14 tokens are unknown" in messages


def digits() -> transformers.PreTrainedTokenizerFast:
    """A byte-level tokenizer that cuts digits by three, as the DeepSeek distillations of Qwen do."""
    rng = np.random.default_rng(0)
    corpus = [*TEXTS * 5, *(" ".join(str(rng.choice([2023, 1999, 202, 23, 650, 650841823])) for _ in range(8)) for _ in range(200))]
    tokens = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated")
    tokens.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokens.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=420, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False)
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="<|end|>", unk_token="<|end|>")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    torch.manual_seed(0)
    config = transformers.Qwen2Config(**{**SMALL, "vocab_size": 420}, num_key_value_heads=1)
    return save(transformers.Qwen2Model(config).eval(), tmp_path_factory.mktemp("digits"), digits())


@settings(max_examples=30, deadline=None)
@given(text=st.text(st.sampled_from("0123456789 abcTé.,'\t日🙂"), min_size=1, max_size=30))
def test_ids_are_those_of_tokenizer_json(qwen, text):
    encoder = load_encoder("hf", name=str(qwen))
    assert encoder.tokenize([text])[0] == [Tokenizer.from_file(str(qwen / "tokenizer.json")).encode(text).ids]


def test_a_class_that_overrides_tokenizer_json_is_said(qwen, capsys):
    encoder, text = load_encoder("hf", name=str(qwen)), "In 2023 the cat ate 650841823 fish ."
    [item] = encoder.tokenize([text])[0]
    assert "gives other token ids than tokenizer.json; those of the file are taken" in capsys.readouterr().err
    library = transformers.AutoTokenizer.from_pretrained(qwen)(text)["input_ids"]
    assert item != library, "this transformers is right by itself; find another case"
    with torch.no_grad():
        states = transformers.AutoModel.from_pretrained(qwen)(torch.tensor([item]), output_hidden_states=True).hidden_states
    assert apart(vectors(encoder, [text]), [state.mean(1).numpy() for state in states]) < 1e-5
    assert [w for w in encoder.word_ids([text])[0]] == sorted(encoder.word_ids([text])[0])


def test_padding_and_truncation_of_tokenizer_json_are_not_taken_for_the_text(tmp_path):
    save(build("bert"), tmp_path)
    file = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    file.enable_padding(length=40)
    file.enable_truncation(3)
    file.save(str(tmp_path / "tokenizer.json"))
    assert [len(item) for item in load_encoder("hf", name=str(tmp_path)).tokenize(TEXTS)[0]] == [4, 6, 4, 20]


# Files.


def test_every_vocabulary_file_of_every_tokenizer_class_is_hashed(tmp_path):
    source = Path(transformers.__file__).parent
    texts = [path.read_text() for path in source.glob("models/*/tokenization_*.py")] + [
        path.read_text() for path in source.glob("tokenization_*.py")
    ]
    tables = re.findall(r"(?:VOCAB_FILES_NAMES|vocab_files_names)[^=\n]*= *\{([^}]*)\}", "\n".join(texts))
    names = {name for table in tables for name in re.findall(r": *\"([^\"]+\.[^\"]+)\"", table)}
    assert {"vocab.txt", "spiece.model", "tokenizer.json"} <= names and len(names) > 15
    for name in names:
        (tmp_path / name).write_text("x")
    seen = {path.name for pattern in hub.TEXTS for path in tmp_path.glob(pattern)}
    assert seen == names


def test_a_changed_vocabulary_file_changes_the_fingerprint(tmp_path):
    save(build("bert"), tmp_path)
    for name in ("sentencepiece.model", "prophetnet.tokenizer", "vocab-src.json", "entity_vocab.json"):
        (tmp_path / name).write_text("{}")
        before = fingerprint(load_encoder("hf", name=str(tmp_path)))
        (tmp_path / name).write_text("{ }")
        assert fingerprint(load_encoder("hf", name=str(tmp_path))) != before, name
    (tmp_path / "README.md").write_text("other words")
    (tmp_path / "trainer_state.json").write_text("{}")
    assert fingerprint(load_encoder("hf", name=str(tmp_path))) != before
    (tmp_path / "entity_vocab.json").write_text("{}")
    assert fingerprint(load_encoder("hf", name=str(tmp_path))) == before


# What the model gets.


def test_token_types_of_the_tokenizer_reach_the_model(tmp_path):
    model = build("xlnet")
    tokens = tokenizer("$A:0 [SEP]:0 [CLS]:2", model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    encoder = encoder_of(model, tmp_path, tokens)
    assert apart(vectors(encoder), means(model, tokens)) < 1e-5
    dropped = tokenizer("$A:0 [SEP]:0 [CLS]:2", model_input_names=["input_ids", "attention_mask"])
    assert apart(vectors(encoder), means(model, dropped)) > 1e-3
    assert encoder.tokenize(["Dogs bark"])[0][0][-1] == (2, 2)  # an id and its type
    game = MaskedSentence(encoder, "Dogs bark", masking="delete")
    [(_, states)] = game.run(np.array([[True, False]]))
    assert states.layers[-1].isfinite().all() and states.mask.shape == (1, 3)


def test_types_that_the_tokenizer_keeps_back_are_asked_for_where_they_differ(tmp_path):
    model, tokens = build("xlnet"), tokenizer("$A:0 [SEP]:0 [CLS]:2", model_input_names=["input_ids", "attention_mask"])
    encoder = encoder_of(model, tmp_path / "xlnet", tokens)
    with_types = tokenizer("$A:0 [SEP]:0 [CLS]:2", model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    assert apart(vectors(encoder), means(model, with_types)) < 1e-5
    gpt2 = build("gpt2")  # a type of 0 would add the vector of token 0 to every token
    assert apart(vectors(encoder_of(gpt2, tmp_path / "gpt2")), means(gpt2, tokenizer())) < 1e-5


def test_padding_has_an_id_that_exists(tmp_path):
    for kind in ("gpt2", "llama"):
        tokens = tokenizer("$A", words=[*LEARNED, *(f"w{k}" for k in range(64 - len(LEARNED)))])
        tokens.add_special_tokens({"pad_token": "[PADX]"})
        model = build(kind)
        assert tokens.pad_token_id == 64 == model.get_input_embeddings().weight.shape[0]
        assert apart(vectors(encoder_of(model, tmp_path / kind, tokens)), means(model, tokens)) < 1e-5


def test_a_token_without_a_row_is_named(tmp_path):
    tokens = tokenizer("$A", words=[*LEARNED, *(f"w{k}" for k in range(64 - len(LEARNED))), "extra"])
    encoder = encoder_of(build("gpt2"), tmp_path, tokens)
    with pytest.raises(StatesError, match="the token 'extra' has the id 64, but the embedding matrix has 64 rows"):
        vectors(encoder, ["The extra cat"])


LONG = "The cat runs . " * 30


@pytest.mark.parametrize(
    "name", "mpnet data2vec-text xmod ibert luke roberta-prelayernorm esm led roberta bart opt gpt2 prophetnet markuplm".split()
)
def test_a_long_sentence_is_cut_at_the_rows_of_the_position_matrix(name, tmp_path):
    encoder = encoder_of(build(name), tmp_path)
    items, cut = encoder.tokenize([LONG, "It rains"])
    limit = {"mpnet": 62, "data2vec-text": 62, "xmod": 62, "ibert": 62, "luke": 62, "roberta-prelayernorm": 62, "esm": 62}
    assert cut == 1 and len(items[0]) == {**limit, "prophetnet": 63, "markuplm": 63}.get(name, 64)
    assert all(np.isfinite(layer).all() for layer in vectors(encoder, [LONG, "It rains"]))


def test_weights_may_lack_only_what_is_thrown_away(tmp_path):
    from safetensors.torch import load_file, save_file

    save(build("t5"), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("decoder")}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert apart(vectors(load_encoder("hf", name=str(tmp_path))), means(build("t5"), tokenizer())) < 1e-5
    lost = {name: value for name, value in kept.items() if "encoder.block.1" not in name}
    save_file(lost, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"8 weights of t5 are missing or of another shape \(encoder.block.1"):
        vectors(load_encoder("hf", name=str(tmp_path)))


# Company and masks.


def test_experts_that_fill_up_are_run_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("probing.encoders.hf.tokens._LONGEST", 16)  # the test at load does not fill them
    model = build("bert")
    encoder = encoder_of(model, tmp_path)
    rng = np.random.default_rng(0)
    texts = tuple(" ".join(rng.choice(LEARNED[5:], 6)) for _ in range(40))

    def full(module, args, out):
        """Like an expert with 200 places: later tokens of a batch pass by it."""
        left = (torch.arange(out.shape[0] * out.shape[1]) < 200).reshape(out.shape[:2])[..., None]
        return torch.where(left, out, args[0])

    encoder.model.encoder.layer[1].register_forward_hook(full)
    assert encoder.company == "padded"
    assert apart(vectors(encoder, texts), means(model, tokenizer(), texts)) < 1e-4
    assert encoder.company == "alone" and "from now on it is run by itself" in capsys.readouterr().err


def test_padding_that_matters_only_in_long_batches_is_met(tmp_path, monkeypatch):
    """The test at load is passed and a later batch fails: from then on sentences go with those of their length."""
    encoder = encoder_of(build("bert"), tmp_path, tokenizer(model_max_length=64))
    monkeypatch.setattr("probing.encoders.hf.tokens._LONGEST", 16)
    assert encoder.company == "padded"
    texts = ("It rains", *(" ".join(LEARNED[5:]) for _ in range(2)))
    right, run = vectors(encoder, texts), TextModel._run

    def leaky(self, inputs, mask, model, **more):
        if mask.shape[1] > 24 and not mask.all():
            mask = torch.ones_like(mask)
        return run(self, inputs, mask, model, **more)

    monkeypatch.setattr(TextModel, "_run", leaky)
    fresh = load_encoder("hf", name=str(tmp_path))
    assert apart(vectors(fresh, texts), right) < 1e-5 and fresh.company == "one length"


def test_states_that_change_from_run_to_run_are_refused(tmp_path, monkeypatch):
    encoder = encoder_of(build("bert"), tmp_path)
    encoder.model.encoder.layer[1].register_forward_hook(lambda module, args, out: out + torch.randn(1))
    with pytest.raises(StatesError, match="gives other states for the same sentence the second time"):
        _ = encoder.dims


HIDDEN = ("bert", "gpt2", "llama", "xlnet", "t5", "mamba", "bart", "modernbert")
OPEN = ("fnet", "rwkv", "recurrent-gemma", "convbert", "mobilebert", "xlstm")


@pytest.mark.parametrize("name", HIDDEN + OPEN)
def test_attention_is_offered_where_absent_words_move_nothing(name, tmp_path):
    encoder = encoder_of(build(name), tmp_path)
    assert ("attention" in possible(encoder)) == (name in HIDDEN)
    if name in OPEN:
        return
    runs = []
    for absent in ("cat", "trains"):
        sentence = MaskedSentence(encoder, f"The {absent} runs Dogs bark .", masking="attention")
        [(_, states)] = sentence.run(np.array([[True, False, True, True, True, True]]))
        runs.append([layer[0][states.mask[0]].numpy() for layer in states.layers])
    assert apart(*runs) < TOLERANCE


# What is remembered.


def test_what_a_run_told_of_a_model_is_remembered_with_its_vectors(tmp_path, monkeypatch):
    folder = str(save(build("rwkv"), tmp_path / "m"))
    first, store = load_encoder("hf", name=folder), Store(tmp_path / "store")
    store.vectors(first, TEXTS, ["mean"])
    second = load_encoder("hf", name=folder)
    monkeypatch.setattr(HuggingFaceEncoder, "_text", property(lambda self: 1 / 0))
    store.recall(second)
    assert second.inspection == first.inspection and second.layer_names[-1] == "block 3 + final norm"
    monkeypatch.setattr("probing.encoders.hf.files.versions_used", lambda: ("torch 0",))
    third = load_encoder("hf", name=folder)
    store.recall(third)
    with pytest.raises(ZeroDivisionError):
        _ = third.dims


# Odd models and folders.


def test_a_tokenizer_that_transformers_saves_as_tokenizer_json_alone_is_read(tmp_path):
    vocabulary = {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}
    encoder = encoder_of(build("gpt2"), tmp_path, transformers.GPT2Tokenizer(vocab=vocabulary, merges=[("a", "b")]))
    assert not (tmp_path / "vocab.json").exists() and encoder.tokenize(["ab"])[0] == [[3]]


def test_a_block_that_adds_nothing_is_a_layer_of_its_own(tmp_path):
    model = transformers.LlamaModel(transformers.LlamaConfig(**{**SMALL, "num_hidden_layers": 4}, num_key_value_heads=1)).eval()
    for k in (0, 2):
        torch.nn.init.zeros_(model.layers[k].self_attn.o_proj.weight)
        torch.nn.init.zeros_(model.layers[k].mlp.down_proj.weight)
    encoder = encoder_of(model, tmp_path)
    expected = ("embeddings", "block 1", "block 2", "block 3", "block 4 + final norm")
    assert encoder.layer_names == encoder.random_twin(0).layer_names == expected
    assert apart(vectors(encoder), means(model, tokenizer())) < 1e-5


@pytest.mark.parametrize("name", ["bigbird", "bigbird-pegasus"])
def test_a_model_that_changes_itself_as_it_runs_is_put_back(name, tmp_path):
    texts = (" ".join(LEARNED[5:] * 2)[:250], "It rains", " ".join(LEARNED[5:] * 2)[:250])
    encoder = encoder_of(build(name), tmp_path, tokenizer(model_max_length=64))
    assert max(map(len, encoder.tokenize(texts)[0])) > 40
    right = zip(*(means(build(name), tokenizer(), (text,)) for text in texts), strict=True)  # a fresh model for each
    assert apart(vectors(encoder, texts), [np.concatenate(rows) for rows in right]) < 1e-4


def test_the_key_is_of_the_weights_that_are_loaded(tmp_path):
    folder = save(build("bert"), tmp_path)
    (folder / "model.safetensors").rename(folder / "extra.safetensors")
    marks = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(transformers.AutoModel.from_config(build("bert").config).state_dict(), folder / "pytorch_model.bin")
        marks.append(fingerprint(load_encoder("hf", name=str(folder))))
    assert marks[0] != marks[1]


def test_a_buffer_that_the_files_lack_is_missing(tmp_path):
    from safetensors.torch import load_file, save_file

    save(build("deepseek-v3"), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert any("e_score_correction_bias" in name for name in weights)
    kept = {name: value for name, value in weights.items() if "e_score_correction_bias" not in name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="e_score_correction_bias"):
        vectors(load_encoder("hf", name=str(tmp_path)))


def test_a_word_without_a_token_of_its_own_cannot_be_masked(tmp_path):
    tokens = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "The": 2, "cat runs": 3, ".": 4}, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.Split(Regex(r"cat runs|\S+"), "removed", invert=True)
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="[PAD]", unk_token="[UNK]")
    encoder = encoder_of(build("bert"), tmp_path, wrapped)
    with pytest.raises(EncoderError, match="the token 'cat runs' lies in 2 words"):
        MaskedSentence(encoder, "The cat runs .", masking="pad")
    MaskedSentence(encoder, "The cat runs .", masking="replace", replacement="The")


def test_a_layer_0_that_skips_the_positions_of_a_word_is_not_called_embeddings(tmp_path):
    encoder = encoder_of(build("roberta"), tmp_path)  # its padding id is the tokenizer's [UNK]
    assert encoder.layer_names[0] == "input of block 1, which depends on other words" and not encoder.context_free


def test_an_old_config_without_return_dict_is_read(tmp_path):
    save(build("bert"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"return_dict": False}))
    assert apart(vectors(load_encoder("hf", name=str(tmp_path))), means(build("bert"), tokenizer())) < 1e-5


def test_a_limit_that_leaves_no_room_for_a_word_is_said(tmp_path):
    folder = str(save(build("bert"), tmp_path, tokenizer("[CLS] [CLS] $A [SEP] [SEP]")))
    with pytest.raises(EncoderError, match="may have 3 tokens .* of which the tokenizer adds 4: no room for a word"):
        load_encoder("hf", name=folder, max_length=3).tokenize(["It rains"])


def test_layers_with_nan_have_their_names(tmp_path):
    model = build("bert")
    torch.nn.init.constant_(model.encoder.layer[1].output.dense.bias, float("nan"))
    encoder = encoder_of(model, tmp_path)
    assert encoder.layer_names == ("embeddings", "block 1", "block 2", "block 3")
    with pytest.raises(StatesError, match="layer 2 .* is not finite"):
        vectors(encoder)


def test_types_of_words_that_the_tokenizer_keeps_back_stay_back(tmp_path):
    tokens = tokenizer("[CLS]:0 $A:1 [SEP]:1", model_input_names=["input_ids", "attention_mask"])
    assert apart(vectors(encoder_of(build("bert"), tmp_path, tokens)), means(build("bert"), tokens)) < 1e-5


@pytest.mark.parametrize("change", [{"new": 1}, {"dims": None}, None, [], "text"])
def test_a_remembered_inspection_of_another_form_is_not_taken(tmp_path, change):
    first = encoder_of(build("bert"), tmp_path)
    record = first.remembered()
    broken = {**record, **change} if isinstance(change, dict) and "new" in change else change
    if isinstance(change, dict) and "dims" in change:
        broken = {key: value for key, value in record.items() if key != "dims"}
    second = load_encoder("hf", name=str(tmp_path))
    second.recall(broken)
    assert "inspection" not in vars(second) and second.inspection == first.inspection
    third = load_encoder("hf", name=str(tmp_path))
    third.recall(json.loads(json.dumps(record)))
    assert vars(third)["inspection"] == first.inspection


def test_a_model_that_fails_on_long_sentences_alone_reads_the_short_ones(tmp_path, monkeypatch):
    encoder, run = encoder_of(build("bert"), tmp_path), TextModel._run

    def short(self, inputs, mask, model, **more):
        with foreign("the model"):
            return run(self, inputs, mask, model, **more) if mask.shape[1] < 20 else [][0]

    monkeypatch.setattr(TextModel, "_run", short)
    assert encoder.company == "padded" and len(vectors(encoder, ("It rains", "Dogs bark"))) == 4
    with pytest.raises(ForeignError, match="IndexError"):
        vectors(encoder, (" ".join(LEARNED[5:]),))
