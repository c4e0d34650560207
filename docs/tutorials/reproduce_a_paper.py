# %% [markdown]
# # Reproduce a paper
#
# Jawahar et al. (2019) probed every layer of BERT on the ten tasks. The suite has their probe (`probe=jawahar2019`) and their
# numbers (`results/published`), each with its source. With a network and SentEval's files the reproduction is two commands:
#
# ```sh
# probing fetch senteval --root data/senteval                       # needs a network
# probing run +experiment=jawahar2019 data.root=data/senteval       # needs a network the first time, and hours of a CPU
# ```
#
# Then `probing report RUN --against jawahar2019` sets both side by side. Offline we look at what is published, and at how a
# comparison names its differences.
# %%
import logging
from pathlib import Path

from matplotlib.figure import Figure

from probing import Store, evaluate, load_encoder, load_task
from probing.data.builders import grammar_tasks
from probing.report import published

logging.getLogger("probing").setLevel("WARNING")

source = published.sources()["jawahar2019"]
print(source["cite"])
theirs = published.load("jawahar2019")
print(theirs.status.value_counts().to_string())
print(theirs[["paper", "table", "encoder", "layer", "task", "metric", "value"]].head(3).to_string(index=False))

# %% [markdown]
# The status says how far a number can be trusted: *verified* was read in the paper itself, *second hand* in another named
# source.
# %%
layers = theirs[theirs.layer.str.isdigit()]
wide = layers.assign(layer=layers.layer.astype(int)).pivot_table("score", "task", "layer", aggfunc="first")
figure = Figure(figsize=(7, 3), layout="constrained")
panel = figure.subplots()
for task, scores in wide.iterrows():
    panel.plot(scores.index, 100 * scores, marker="o", ms=2.5, label=task)
panel.set_xlabel("layer")
panel.set_ylabel("accuracy (%)")
panel.legend(fontsize=7, ncols=2, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
figure.savefig(Path("jawahar.svg"))

# %% [markdown]
# Something of our own to set beside it, small on purpose: an untrained Transformer on one task of the built-in grammar, with
# our default probe and mean pooling.
# %%
task = load_task("subj_number", grammar_tasks("data", n=1000))
encoder = load_encoder("transformer", layers=2, embedding_dim=32)
table = evaluate([task], [encoder], store=Store("store"), floors=["majority"], controls=[], poolings=["mean"])
beside = published.beside(table, "jawahar2019")
print(beside[["task", "their_layer", "theirs", "our_layer", "ours"]].round(3).to_string(index=False))
print(beside.differs.iloc[0].replace("; ", "\n"))

# %% [markdown]
# A comparison never shows two numbers without what differs between them: here the encoder, the probe, the pooling and the data.
# Only where that list is empty are two numbers the same measurement.
