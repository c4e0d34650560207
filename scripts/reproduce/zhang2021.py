"""Zhang et al. 2021: interactions of words, every study of ours in one command, as probing run +experiment=zhang2021 does.

Usage: python scripts/reproduce/zhang2021.py KEY=VALUE …   e.g. encoder=checkpoint encoder.path=DIR data=sst2 data.root=DIR
Layers, error and instability of T, wrong predictions, synthetic formulas; prototypes with studies.prototypes.study.trees=FILE. Each
study is a run of its own with its report; one that fails is named, and the others go on.
"""

from __future__ import annotations

import sys

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from probing.config import Done
from probing.jobs import run_job
from probing.paths import CONF


def main(words: list[str]) -> Done:
    """How many studies failed."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        options = OmegaConf.to_container(compose("config", ["+experiment=zhang2021", *words]), resolve=True)
    assert isinstance(options, dict)
    return run_job({str(key): value for key, value in options.items()})


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]).failed else 0)
