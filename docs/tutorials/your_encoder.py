# %% [markdown]
# # Your own encoder
#
# Any Python function that turns sentences into vectors can be measured. Put it into a file:
# %%
import logging
from pathlib import Path

from probing import Store, evaluate, load_encoder, load_task
from probing.data.builders import grammar_tasks
from probing.encoders.conformance import check
from probing.errors import ProbingError

logging.getLogger("probing").setLevel("WARNING")

CODE = """
import hashlib
import numpy as np


def vector(word, width):
    seed = int(hashlib.sha256(word.encode()).hexdigest()[:8], 16)
    return np.random.default_rng(seed).normal(size=width)


def make(width=64):  # called with encoder.options
    def encode(texts):  # n sentences -> {layer name: an array (n, d)}
        bags = [np.stack([vector(word, width) for word in text.split()]) for text in texts]
        return {"mean": np.stack([bag.mean(0) for bag in bags]), "max": np.stack([bag.max(0) for bag in bags])}

    return encode
"""
Path("mine.py").write_text(CODE, encoding="utf-8")

# %% [markdown]
# `make` is called with the options and returns the encoder. The encoder gives a dictionary: one array (sentences, width) for
# each of its layers. A single array is an encoder of one layer; a list of arrays (tokens, width) gives token states, which the
# suite pools.
# %%
encoder = load_encoder("python", target="mine.py:make", options={"width": 32})
print(encoder.name, encoder.layer_names, encoder.dims, encoder.poolings)

# %% [markdown]
# The suite ran it on a few sentences already. An encoder whose vector of a sentence depends on the other sentences of the batch
# is refused, since its numbers would depend on the batch size:
# %%
Path("batchy.py").write_text(
    "import numpy as np\n\n\ndef encode(texts):\n    x = np.array([[len(t), t.count('e')] for t in texts], float)\n"
    "    return x - x.mean(0)\n",
    encoding="utf-8",
)
try:
    load_encoder("python", target="batchy.py:encode")
except ProbingError as error:
    print(error)

# %% [markdown]
# `probing check encoder=python encoder.target=mine.py:make` runs all rules of the protocol; in Python:
# %%
report = check(lambda: load_encoder("python", target="mine.py:make", options={"width": 32}))
print(report)

# %% [markdown]
# And the table:
# %%
task = load_task("subj_number", grammar_tasks("data", n=1000))
table = evaluate([task], [encoder], store=Store("store"), floors=["majority", "nb-unigram"], controls=["permuted"])
print((100 * table.pivot("task", "layer", role="probe")).round(1).to_string())
print(table.best()[["task", "layer", "accuracy", "beats_floors", "floor"]].to_string(index=False))

# %% [markdown]
# Other forms: `encoder=vectors encoder.path=FILE.npz` for sentence vectors computed elsewhere, `ModuleStates` for the layers of
# a torch module, SentEval's `prepare` and `batcher` unchanged. See [how-tos](../howto.md#another-encoder).
#
# What is in memory is an encoder too: `evaluate(task, (model, tokenizer))` with a `transformers` model, a SentenceTransformer, a
# function from texts to an array (n, d). See [reference](../reference.md#measure).
