"""Scores against minicons 0.3.39 (Misra 2022), an independent implementation, on random models of subwords; if it is installed."""

import warnings

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from probing.behaviour.base import BETWEEN
from probing.behaviour.models import language_model
from probing.behaviour.scores import Convention, score
from probing.encoders.hf.huggingface import HuggingFaceEncoder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    scorer = pytest.importorskip("minicons.scorer")

WORDS = (
    "the a dogs dog cats cat near under unhappily happily barked barking barks sees seen unseen lost boats boat "
    "underneath well-known isn't quietly, quiet . !"
).split()
rng = np.random.default_rng(0)
SENTENCES = [" ".join(rng.choice(WORDS, int(rng.integers(2, 12)))) for _ in range(20)]


def tokenizer_of(kind):
    """Subwords that are trained on the sentences: WordPiece with BERT's marks, or bytes as GPT-2 reads them."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] if kind == "bert" else ["<|endoftext|>", "<pad>"]
    if kind == "bert":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=60, special_tokens=special, show_progress=False)
        marks = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
        marks = {"bos_token": special[0], "eos_token": special[0], "unk_token": special[0], "pad_token": special[1]}
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if kind == "bert":
        form = {"single": "[CLS] $A [SEP]", "pair": "[CLS] $A [SEP] $B [SEP]"}
        tokenizer.post_processor = processors.TemplateProcessing(**form, special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **marks)


def saved(kind, folder):
    tokenizer = tokenizer_of(kind)
    sizes = {"vocab_size": len(tokenizer)}
    if kind == "bert":
        config = transformers.BertConfig(**sizes, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)
        cls = transformers.BertForMaskedLM
    elif kind == "gpt2":
        config = transformers.GPT2Config(**sizes, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
        cls = transformers.GPT2LMHeadModel
    else:
        config = transformers.T5Config(
            **sizes,
            d_model=32,
            d_kv=16,
            d_ff=48,
            num_layers=2,
            num_heads=2,
            pad_token_id=1,
            eos_token_id=0,
            decoder_start_token_id=1,
        )
        cls = transformers.T5ForConditionalGeneration
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = cls(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval(), tokenizer


def largest(own, theirs):
    """The largest difference of token scores, of sentences of the same numbers of tokens."""
    assert [len(x) for x in own] == [len(x) for x in theirs]
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in zip(own, theirs, strict=True))


@pytest.mark.parametrize("masking", ["original", "within_word_l2r"])
def test_masked_scores(tmp_path, masking):
    whole, tokenizer = saved("bert", tmp_path)
    tokenizer.batch_encode_plus = tokenizer.__call__  # transformers 5 has it no more
    other = scorer.MaskedLMScorer(whole, "cpu", tokenizer=tokenizer)
    theirs = [other.compute_stats(other.prepare_text([text], PLL_metric=masking))[0] for text in SENTENCES]
    model = language_model(HuggingFaceEncoder(str(tmp_path)))
    own = score(model, [(text, None) for text in SENTENCES], Convention(masking=masking))
    assert largest(own.log_p, theirs) < 1e-4
    unlike = score(model, [(text, None) for text in SENTENCES], Convention(masking="whole_word"))
    assert largest(unlike.log_p, theirs) > 1e-2, "the masking matters here"


@pytest.mark.parametrize("start", ["mark", "none"])
def test_causal_scores(tmp_path, start):
    whole, tokenizer = saved("gpt2", tmp_path)
    other = scorer.IncrementalLMScorer(whole, "cpu", tokenizer=tokenizer)
    theirs = other.compute_stats(other.prepare_text(SENTENCES, bos_token=start == "mark"))
    own = score(language_model(HuggingFaceEncoder(str(tmp_path))), [(text, None) for text in SENTENCES], Convention(start=start))
    assert largest(own.log_p, theirs) < 1e-4 and sum(map(len, theirs)) > 100
    assert own.lost.tolist() == [int(start == "none")] * 20


def test_scores_given_a_source(tmp_path):
    whole, tokenizer = saved("t5", tmp_path)
    other = scorer.Seq2SeqScorer(whole, "cpu", tokenizer=tokenizer)
    pairs = list(zip(SENTENCES, SENTENCES[::-1], strict=True))
    theirs = [other.compute_conditional_stats(other.prime_text([source], [f"{target}"]))[0] for source, target in pairs]
    model = language_model(HuggingFaceEncoder(str(tmp_path)), sources=True)
    own = score(model, [(f"{source}{BETWEEN} {target}", None) for source, target in pairs], Convention())
    assert largest(own.log_p, theirs) < 1e-4
