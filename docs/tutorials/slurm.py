# %% [markdown]
# # A sweep on Slurm, dry
#
# A sweep is one command that starts many jobs. Jobs share a store: a sentence is encoded once, whichever job needs it first.
# This page shows what would be submitted without a cluster; nothing is computed.
#
# The command, on a cluster with `pip install 'probing-bench[slurm]'`:
#
# ```sh
# probing run +sweep=slurm hydra.launcher.partition=NAME run.dir=/shared/out data=senteval data.root=/shared/senteval \
#     encoder=minilm,lstm 'task=[tree_depth],[past_present]'
# ```
#
# Hydra composes the configuration; we read the launcher's part of it.
# %%
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from probing.paths import CONF

words = ["+sweep=slurm", "hydra.launcher.partition=gpu", "run.dir=/shared/out", "data=senteval", "data.root=/shared/senteval"]
with initialize_config_dir(str(CONF), version_base="1.3"):
    config = compose("config", words, return_hydra_config=True)
launcher = config.hydra.launcher
for key in ("partition", "timeout_min", "cpus_per_task", "mem_gb", "array_parallelism", "max_num_timeout", "setup"):
    print(f"{key}: {OmegaConf.to_container(launcher)[key]}")

# %% [markdown]
# **What is a job?** A value of a swept key. `encoder=minilm,lstm` is two jobs. Keys that are lists (`task`, `layer`, `pooling`,
# `seed`) are loops inside one job, so that `task=a,b` is still one job; brackets part them into jobs: `'task=[a],[b]'`. Our
# command has 2 × 2 = 4 jobs. Hydra's own parser lists them:
# %%
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser

swept = OverridesParser.create().parse_overrides(["encoder=minilm,lstm", "task=[tree_depth],[past_present]"])
for number, values in enumerate(product(*(override.sweep_string_iterator() for override in swept))):
    print(number, *(f"{override.key_or_group}={value}" for override, value in zip(swept, values)))

# %% [markdown]
# When a job dies, is preempted or meets its time limit, Slurm or submitit queues it again and it goes on where it stopped. If
# all else fails run the same command again: what is finished is never computed twice. At the end one table of all runs is
# written below `run.dir/tables`.
#
# Try the same sweep on one machine first: `+sweep=local` (`pip install 'probing-bench[sweep]'`) in the place of `+sweep=slurm`.
# `results/slurm/README.md` has a trial with kills, preemption, a dead node and time limits.
