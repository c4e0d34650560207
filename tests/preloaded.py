"""What the server of `processes` has done before it forks: the imports, and the first use of what is slow once."""

import importlib

import matplotlib

LIBRARIES = (
    *(
        "probing.cli",
        "probing.run",
        "probing.report.write",
        "probing.training.train",
        "probing.data.sources",
        "probing.probes.logistic",
    ),
    *(
        "probing.encoders.hf.huggingface",
        "probing.encoders.hf.hooks",
        "probing.data.expressions.tasks",
    ),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto", "sklearn.linear_model"),
    *("transformers.models.bert.modeling_bert", "transformers.models.gpt2.modeling_gpt2", "torch.onnx", "pyarrow.parquet"),
    *("matplotlib.backends.backend_svg", "matplotlib.pyplot", "pandas.io.formats.style"),
)
for name in LIBRARIES:
    importlib.import_module(name)

importlib.import_module("parsed").once()

with importlib.import_module("hydra").initialize_config_dir(str(importlib.import_module("probing.paths").CONF), version_base="1.3"):
    importlib.import_module("hydra").compose("config", ["encoder=hf", "encoder.name=x", "task=[a,b]", "data.n=3"])
matplotlib.font_manager.findfont("DejaVu Sans")
