# %% [markdown]
# # A decoder language model
#
# Large language models are probed like any other transformers model: `encoder=hf encoder.name=FOLDER_OR_HUB_ID`. To stay
# offline we make a tiny Llama with random weights; replace the folder by the name of a model that you have. Its numbers mean
# nothing.
# %%
import logging

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from probing import Store, evaluate, load_encoder, load_task
from probing.data.builders import grammar_tasks

logging.getLogger("probing").setLevel("WARNING")

task = load_task("subj_number", grammar_tasks("data", n=1000))
words = sorted({word for text in task.train.texts for word in text.split()})
vocabulary = {word: k for k, word in enumerate(["<unk>", "<pad>", *words])}
tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>").save_pretrained("tiny-llama")
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=len(vocabulary), hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, pad_token_id=1, bos_token_id=None, eos_token_id=None,
)  # fmt: skip
LlamaModel(config).save_pretrained("tiny-llama")

# %% [markdown]
# A decoder reads from left to right: the state of a token knows the tokens before it and none after it. So the pooling matters.
# `last` is the state of the last token, the only one that has read the whole sentence; `mean` averages all tokens.
# %%
encoder = load_encoder("hf", name="tiny-llama")
print(encoder.name, encoder.poolings)
for name in encoder.layer_names:
    print("   ", name)

# %% [markdown]
# The last layer comes after the model's final norm; its name says so. Layer 0 is the output of the embeddings, which for `last`
# is the embedding of the last token alone, mostly the full stop.
# %%
floors = ["majority", "static", "random-weights"]
table = evaluate([task], [encoder], store=Store("store"), poolings=["mean", "last"], floors=floors, controls=[])
print((100 * table.pivot("pooling", "layer", role="probe", task="subj_number")).round(1).to_string())
print(table.best()[["layer", "pooling", "accuracy", "random", "beats_floors", "floor"]].round(3).to_string(index=False))

# %% [markdown]
# An untrained network is no better than its random twin, as it must be. For a real model `probing run encoder=hf
# encoder.name=FOLDER pooling=mean,last encoder.dtype=bfloat16` is the same measurement; `encoder.device=cuda` uses a GPU.
#
# A chat model has read turns, not bare sentences. With `chat=True` each sentence is the user's turn of the tokenizer's template,
# here one that we make up. `span="sentence"` leaves the template's tokens out of the poolings: `last` is then the state at the
# sentence's last token; with `span="all"`, the default, it is that at the end of the template, where the answer begins.
# %%
own = PreTrainedTokenizerFast.from_pretrained("tiny-llama")
own.chat_template = "user : {{ messages[0]['content'] }}{% if add_generation_prompt %} assistant :{% endif %}"
own.save_pretrained("tiny-llama")
for span in ("all", "sentence"):
    chat = load_encoder("hf", name="tiny-llama", chat=True, span=span)
    [item], _ = chat.tokenize(["the dog barks ."])
    print(chat.name, "reads", len(item), "tokens")

# %% [markdown]
# Both read the same tokens; their poolings differ.
#
# Further options are `encoder.prompt`, `encoder.adapter` (LoRA and the like), `encoder.quantization` and, for models that bring
# code, `encoder.trust_remote_code`: see [how-tos](../howto.md#another-encoder). Checkpoints of one training are a sweep:
# `probing run -m encoder=hf encoder.name=HUB_ID encoder.revision=step1000,step2000`.
