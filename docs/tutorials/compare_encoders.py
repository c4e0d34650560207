# %% [markdown]
# # Compare two encoders
#
# Is one encoder better than another on a task? Both answer the same test sentences, so the test is a paired one. We compare
# MiniLM with an LSTM that has random weights, on the task of [the first table](first_table.md): who acts, the animal or the
# person?
# %%
import logging
from pathlib import Path

from probing import Store, evaluate, load_encoder, load_task

logging.getLogger("probing").setLevel("WARNING")

data = Path(__file__).parent / "data"
task = load_task(str(data / "agent.yaml"), data)
encoders = [load_encoder("minilm"), load_encoder("lstm", hidden=64, embedding_dim=64, label="lstm")]
table = evaluate([task], encoders, store=Store("store"), poolings=["mean"], floors=["majority"], controls=[])
print((100 * table.best().pivot(index="task", columns="encoder", values="accuracy")).round(1).to_string())

# %% [markdown]
# Each encoder is at its own dev-best layer. `compare_encoders` tests every pair:
# %%
pairs = table.compare_encoders()
shown = ["task", "a", "a_at", "b", "b_at", "a_accuracy", "b_accuracy", "difference", "p", "p_holm"]
print(pairs[shown].to_string(index=False, float_format="{:.3g}".format))

# %% [markdown]
# `p` is that of the exact McNemar test: among the test sentences that exactly one encoder has right, could the split between
# the two be chance? Where sentences share a source, as our mirror images do, it is the exact sign-flip test of whole groups.
# `p_holm` is corrected for all pairs of the table; quote that one.
#
# Within one encoder the same test compares layers:
# %%
layers = table.compare_layers()
part = layers[layers.encoder == "minilm"].sort_values("layer")
print(
    part[["layer", "accuracy", "best", "difference", "p_holm", "not_separated", "better"]].to_string(
        index=False, float_format="{:.3g}".format
    )
)

# %% [markdown]
# A picture of both encoders, with their intervals:
# %%
from probing.report.figures import curves

Path("two_encoders.svg").write_text(curves(table, "fast", "mean"), encoding="utf-8")

# %% [markdown]
# On the command line `probing run -m encoder=minilm,lstm` makes one run for each encoder and one table of both, in which
# encoders that share a letter are not separated.
