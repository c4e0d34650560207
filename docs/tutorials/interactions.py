# %% [markdown]
# # Interactions of words
#
# A probe asks what a layer knows about a sentence. An interaction asks how the words of one sentence work together in a layer.
# The words are the players of a game; the value of some words is how close the pooled vector of the sentence with only these
# words present comes to that of the whole sentence.
# %%
from pathlib import Path

import pandas as pd

from probing import load_encoder
from probing.interactions.text.game import TextGame, drawn, text_interactions

encoder = load_encoder("minilm")
game = TextGame(encoder, "The movie is not very good .", value="mean", masking="mask")
segment = (3, 6)
print(game.n_players, "words; segment:", game.sentence.words[slice(*segment)])

# %% [markdown]
# For the segment *not very good* there are 4 words outside and 3 inside. Exact values need the model on every set of absent
# words:
# %%
results, rows = text_interactions(game, segment)
print(rows, "model evaluations")
lines = []
for k, one in enumerate(results):
    r = one.interaction
    lines.append({"layer": k, "B": r.B, "B_max": r.B_max, "B_min": r.B_min, "T": r.T})
print(pd.DataFrame(lines).round(4).to_string(index=False))

# %% [markdown]
# B is the interaction within the segment taken as one block: positive where the three words together give more than each alone.
# B_max and B_min are the largest and smallest sum over all ways to cut the segment into blocks, and T = B_max - B_min is the
# strength of interaction. With words masked in place and a mean over tokens, layer 0 has none: each embedding depends on its
# own word only.
#
# The best way to cut, layer by layer:
# %%
for k, one in enumerate(results):
    print(k, drawn(game.sentence.words, one.interaction.max_partitions[0]))

# %% [markdown]
# As a picture:
# %%
from matplotlib.figure import Figure

figure = Figure(figsize=(4, 2.2), layout="constrained")
panel = figure.subplots()
panel.bar([line["layer"] for line in lines], [line["T"] for line in lines], color="#0072B2")
panel.set_xlabel("layer")
panel.set_ylabel("T of 'not very good'")
figure.savefig(Path("strength.svg"))

# %% [markdown]
# **How a word is made absent changes the answer**, so every result names its masking. The same with the words deleted:
# %%
deleted, _ = text_interactions(TextGame(encoder, "The movie is not very good .", value="mean", masking="delete"), segment)
print([round(one.interaction.T, 3) for one in deleted])

# %% [markdown]
# On the command line: `probing interact encoder=minilm text="The movie is not very good ." segment=3:6 value=mean
# masking=mask`. Values are multivariate Shapley interactions (Zhang et al. 2021); [methodology](../methodology.md#interactions)
# has the definitions.
