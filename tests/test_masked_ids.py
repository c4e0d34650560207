"""Deletion feeds ids, never text: what a model reads of a masked sentence is the ids of the whole one, without those of absent
words or with others in their place. On real sentences, whose words have several pieces: text read anew would have other ids."""

import lzma
import os

import numpy as np
import pytest
import torch

from probing import load_encoder
from probing.interactions.text.masking import MaskedSentence

SENTENCES = int(os.environ.get("PROBING_MASKED_SENTENCES", "24"))
"""Of the test split, drawn: 300 for the figure of the documentation."""
PUT = {"mask": "mask_token_id", "pad": "pad_token_id", "unknown": "unk_token_id"}


@pytest.fixture(scope="module")
def minilm():
    encoder = load_encoder("minilm")
    list(MaskedSentence(encoder, "this is no film .", "delete").run(~np.eye(5, dtype=bool)))  # reads samples of its own, once
    yield encoder
    encoder.release()


@pytest.fixture(scope="module")
def cases(shared, minilm):
    """(text, ids of the whole sentence, word of each id, coalitions): by the offsets of the tokenizer in the text, not by our code;
    without one word, and without about half of them."""
    with lzma.open(shared / "data/sst_sentences/stsa.binary.test.xz", "rt", encoding="utf-8") as file:
        lines = [line.partition(" ")[2].strip() for line in file]
    rng, made = np.random.default_rng(0), []
    for k in rng.permutation(len(lines))[:SENTENCES]:
        text, n = " ".join(lines[k].split()), len(lines[k].split())
        encoded = minilm.tokenizer(text, return_offsets_mapping=True)
        ends = np.cumsum([len(word) + 1 for word in text.split()])  # where the next word begins
        owners = [None if a == b else int(np.searchsorted(ends, a, side="right")) for a, b in encoded["offset_mapping"]]
        coalitions = np.stack([np.arange(n) != rng.integers(n), rng.random(n) < 0.5, rng.random(n) < 0.5])
        made.append((text, np.array(encoded["input_ids"]), owners, coalitions))
    return made


def read(encoder, text, masking, coalitions):
    """What the model reads, for each row in its order: the ids and vectors (tokens, d) of the places that are no padding."""
    rows = []

    def at_model(module, args, kwargs):
        rows.extend(
            [ids[keep].numpy(), keep] for ids, keep in zip(kwargs["input_ids"], kwargs["attention_mask"].bool(), strict=True)
        )

    def at_norm(module, args):
        first = len(rows) - len(args[0])
        for row, vectors in zip(rows[first:], args[0], strict=True):
            row.append(vectors[row[1]].clone())

    norm = encoder.model.embeddings.LayerNorm
    hooks = [encoder.model.register_forward_pre_hook(at_model, with_kwargs=True), norm.register_forward_pre_hook(at_norm)]
    try:
        order = [row for batch, _ in MaskedSentence(encoder, text, masking).run(coalitions) for row in batch]
    finally:
        for hook in hooks:
            hook.remove()
    return order, [(ids, vectors) for ids, _, vectors in rows]


def summed(encoder, ids):
    """Word, position and type vectors of ids, which the model's first norm reads."""
    own = encoder.model.embeddings
    with torch.no_grad():
        words = own.word_embeddings.weight[torch.as_tensor(ids)]
        return words + own.position_embeddings.weight[: len(ids)] + own.token_type_embeddings.weight[0]


@pytest.mark.shared
@pytest.mark.parametrize("masking", ["delete", *PUT])
def test_the_model_reads_the_ids_that_are_meant(minilm, cases, masking):
    wrong = 0
    for text, ids, owners, coalitions in cases:
        kept = [np.array([owner is None or row[owner] for owner in owners]) for row in coalitions]
        order, rows = read(minilm, text, masking, coalitions)
        if masking == "delete":
            meant = {tuple(ids[here].tolist()) for here in kept}  # in the order of batches, some again to test a batch
            wrong += meant != {tuple(own.tolist()) for own, _ in rows}
            continue
        other = getattr(minilm.tokenizer, PUT[masking])
        meant = [summed(minilm, np.where(kept[k], ids, other)) for k in order]
        wrong += any(not torch.allclose(a, b, atol=1e-6) for a, (_, b) in zip(meant, rows, strict=True))
    assert wrong == 0, f"{wrong} of {len(cases)} sentences"


@pytest.mark.shared
def test_text_that_is_read_anew_would_have_other_ids(minilm, cases):
    """So that the test above can fail: pieces are deleted, written as text, and read again, as other packages do."""
    wrong = 0
    for _, ids, owners, _ in cases:
        inner = [k for k, owner in enumerate(owners) if owner is not None]
        again = ([k for k in inner if k != gone] for gone in inner)
        texts = [(ids[kept].tolist(), minilm.tokenizer.decode(ids[kept])) for kept in again]
        wrong += any(minilm.tokenizer(text, add_special_tokens=False)["input_ids"] != kept for kept, text in texts)
    assert wrong > len(cases) / 5, f"{wrong} of {len(cases)} sentences"
