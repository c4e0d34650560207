"""What the server of `processes` has done before it forks: the imports, and the first use of what is slow once."""

import contextlib
import importlib
import io
import pkgutil

import matplotlib

LIBRARIES = (
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto", "sklearn.linear_model"),
    *("transformers.models.bert.modeling_bert", "transformers.models.gpt2.modeling_gpt2", "torch.onnx"),
    *("pyarrow.parquet", "pyarrow.pandas_compat", "safetensors.numpy", "PIL.PngImagePlugin", "xml.sax"),
    *("matplotlib.backends.backend_svg", "matplotlib.pyplot", "pandas.io.formats.style"),
)
ours = pkgutil.walk_packages(importlib.import_module("probing").__path__, "probing.")
for name in (*(module.name for module in ours if module.name != "probing.__main__"), *LIBRARIES):
    importlib.import_module(name)

importlib.import_module("parsed").once()

with importlib.import_module("hydra").initialize_config_dir(str(importlib.import_module("probing.paths").CONF), version_base="1.3"):
    importlib.import_module("hydra").compose("config", ["encoder=hf", "encoder.name=x", "task=[a,b]", "data.n=3"])
with contextlib.redirect_stdout(io.StringIO()):
    # Typer imports pydantic for the first argument
    importlib.import_module("probing.cli").app(["list", "probes"], standalone_mode=False)
matplotlib.font_manager.findfont("DejaVu Sans")
