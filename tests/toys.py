"""Small stand-ins: an encoder without transformers, tiny transformers models, task files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from probing.encoders.base import States


@lru_cache(4)
def _weights(seed: int, width: int, n_layers: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(1000, width, generator=generator)
    return table, [torch.randn(width, width, generator=generator) / width**0.5 for _ in range(n_layers)]


@lru_cache(100_000)
def _word(text: str) -> int:
    return 2 + int(hashlib.sha256(text.encode()).hexdigest(), 16) % 997


@dataclass
class ToyEncoder:
    """A bag of hashed word vectors; layer k is a fixed random map of the one below, and sees the position from layer 1 on."""

    name: str = "toy"
    width: int = 12
    n_layers: int = 3
    seed: int = 0
    calls: int = 0
    sentences: int = 0
    poison: str | None = None
    origin: str = "the tests"
    poolings: tuple[str, ...] = ("cls", "mean", "max", "last")

    @property
    def dims(self):
        return (self.width,) * self.n_layers

    @property
    def layer_names(self):
        return tuple(f"toy {k}" for k in range(self.n_layers))

    @property
    def description(self):
        return {"kind": "toy", "width": self.width, "layers": self.n_layers, "seed": self.seed}

    def tokenize(self, texts):
        ids = [[1, *map(_word, text.split())] for text in texts]
        if self.poison:
            ids = [[0, *item[1:]] if self.poison in text else item for item, text in zip(ids, texts, strict=True)]
        return ids, 0

    def word_ids(self, texts):
        return [[None, *range(len(text.split()))] for text in texts]

    def forward(self, items):
        self.calls += 1
        self.sentences += len(items)
        table, maps = _weights(self.seed, self.width, self.n_layers)
        longest = max(map(len, items))
        ids = torch.zeros(len(items), longest, dtype=torch.long)
        mask = torch.zeros(len(items), longest, dtype=torch.bool)
        for i, item in enumerate(items):
            ids[i, : len(item)] = torch.tensor(item)
            mask[i, : len(item)] = True
        layers = [table[ids]]
        if self.poison:
            layers[0][ids[:, 0] == 0] = float("nan")
        for m in maps[1:]:
            layers.append(torch.tanh(layers[-1] @ m + 0.1 * torch.arange(longest)[None, :, None]))
        return States(layers, mask)

    def release(self):
        pass

    def random_twin(self, seed):
        return replace(self, name=f"{self.name} (random {seed})", seed=1000 + seed, calls=0, sentences=0)


def write_task(path: Path, rows: Iterable[tuple[str, str, str]]) -> Path:
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


WORDS = "the a cat dog cats dogs sees see saw big small and or because it they run runs ran .".split()
KNOWN = [*WORDS, *(f"w{k}" for k in range(40))]
"""What the tokenizers of tiny models know: also the words of the fixture `toy_root`."""


def save_tiny(kind: str, folder: Path, dtype: torch.dtype = torch.float32, words: Sequence[str] = KNOWN) -> Path:
    """Saves a two-layer random model of the kind and its tokenizer, which knows the words."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    n = len(vocabulary)
    if kind == "bert":
        tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
        special |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
        config = transformers.BertConfig(
            vocab_size=n,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=24,
        )
    elif kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=n, n_embd=16, n_layer=2, n_head=2, n_positions=24, bos_token_id=2, eos_token_id=3
        )
    elif kind == "llama":
        config = transformers.LlamaConfig(
            vocab_size=n, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=32,
            max_position_embeddings=24, bos_token_id=2, eos_token_id=3, pad_token_id=0,
        )  # fmt: skip
    elif kind == "t5":
        config = transformers.T5Config(vocab_size=n, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=0)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = transformers.AutoModel.from_config(config).to(dtype)
        with torch.no_grad():
            for parameter in model.parameters():  # larger than the usual 0.02, so that mistakes show
                parameter.add_(0.3 * torch.randn_like(parameter.float()).to(dtype))
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=24, **special).save_pretrained(folder)
    return folder
