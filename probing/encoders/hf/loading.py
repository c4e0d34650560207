"""Loads the text part of a `transformers` model and its tokenizer from a folder, and compares both with the files.

The library silently draws weights that a folder lacks at random, and gives a folder without a vocabulary an empty tokenizer. Both
are refused; weights may be missing only outside of the text part.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from probing.encoders.hf.adapter import trained_on, with_adapter
from probing.errors import EncoderError, described

TOKENIZER_FILES = (
    "tokenizer.json tokenizer_config.json vocab.json vocab.txt merges.txt tokenizer.model spiece.model sentencepiece.bpe.model "
    "sentencepiece.model spm.model spm_char.model source.spm target.spm bpe.codes vocab.bpe dict.txt prophetnet.tokenizer "
    "entity_vocab.json vocab-src.json vocab-tgt.json tekken.json"
).split()
"""A folder with none of these has no tokenizer."""


def read_config(folder: Path, trust: bool = False) -> Any:
    """The config of the whole model; raises EncoderError where config.json cannot be used. `trust`: run the folder's own code."""
    from transformers import AutoConfig

    with refused(f"{folder}: config.json cannot be used"):
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust)


def load_model(
    folder: Path, config: Any, dtype: Any, seed: int | None, trust: bool = False, adapter: Path | None = None, **how: Any
) -> Any:
    """The text part, with weights of the folder or drawn from `seed`, and the adapter of another folder in its layers.

    `trust`: run Python code of the folder; `how`: more arguments of `from_pretrained`. Raises EncoderError for weights that the
    folder lacks, and for an adapter that does not fit.
    """
    if seed is not None:
        with torch.random.fork_rng(devices=[]), transformers_quiet(), refused(f"{folder}: the weights cannot be loaded"):
            torch.manual_seed(seed)  # transformers draws from the global generator
            cls = next(_classes(folder, config, trust))
            code = {"trust_remote_code": True} if trust else {}
            return text_part(cls.from_config(config, dtype=dtype, **code) if hasattr(cls, "from_config") else cls(config).to(dtype))
    first: list[str] = []
    unfit: dict[str, str] = {}
    classes = list(_classes(folder, config, trust))
    for cls in dict.fromkeys((*(trained_on(adapter) if adapter else ()), *classes)):
        with transformers_quiet(), refused(f"{folder}: the weights cannot be loaded"):
            model, report = cls.from_pretrained(folder, dtype=dtype, output_loading_info=True, trust_remote_code=trust, **how)
            whole = text_part(model)
            part = (whole.base_model if cls not in classes else whole).state_dict(keep_vars=True)
            kept = {id(value) for name, value in part.items() if "pooler" not in name}  # a pooler's output is not used
            values = model.state_dict(keep_vars=True)
        missing = sorted(name for name in report["missing_keys"] if name in values and id(values[name]) in kept)
        missing = missing or sorted(str(key) for key in report.get("mismatched_keys", ()))
        if missing:
            first = first or missing
        elif adapter is None:
            return whole
        else:
            adapted = with_adapter(model, adapter)
            if not isinstance(adapted, str):
                return text_part(adapted).base_model  # without a head for words or classes
            unfit[type(model).__name__] = adapted
    if unfit:
        reasons = "; ".join(f"on a {name}: {why}" for name, why in unfit.items())
        raise EncoderError(
            f"encoder.adapter={adapter} does not fit {folder}: it was trained on another model or class "
            f"(base_model_name_or_path in its adapter_config.json; {reasons})"
        )
    raise EncoderError(
        f"{folder}: {len(first)} weights of {config.model_type} are missing or of another shape "
        f"({', '.join(first[:3])}{'…' if first[3:] else ''}): the states would be partly random"
    )


def _classes(folder: Path, config: Any, trust: bool) -> Iterator[Any]:
    """Classes that may load the folder: the family's base class, or what its own code names, then the class that its config names
    (BART's encoder alone)."""
    import transformers

    own = (getattr(config, "auto_map", None) or {}) if trust else {}
    known = type(config) in transformers.MODEL_MAPPING or "AutoModel" in own
    if known:
        yield transformers.AutoModel
    for name in own:
        if name.startswith("AutoModelFor") and hasattr(transformers, name):
            known = True
            yield getattr(transformers, name)
    families = [transformers]
    with suppress(ImportError):  # some families use the models of another
        families.insert(0, importlib.import_module(type(config).__module__.replace(".configuration_", ".modeling_")))
    for name in getattr(config, "architectures", None) or ():
        cls = next((getattr(family, name) for family in families if hasattr(family, name)), None)
        if hasattr(cls, "from_pretrained"):
            known = True
            yield cls
    if not known:
        raise EncoderError(f"{folder}: transformers has no model for a {config.model_type} config without the name of its class")


def text_part(model: Any) -> Any:
    """The encoder of an encoder-decoder model, the text tower of a model of several kinds of input, else the model."""
    from transformers import PreTrainedModel

    if "decoder_input_ids" in inspect.signature(model.forward).parameters:
        return model.get_encoder()
    text = model.config.get_text_config()
    if text is model.config:
        return model
    towers = [part for part in model.modules() if isinstance(part, PreTrainedModel) and part.config is text]
    return towers[0] if towers else model


def load_tokenizer(folder: Path, trust: bool = False) -> Any:
    """The tokenizer as the library loads it; raises EncoderError if the folder has no files of it, or they cannot be loaded."""
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise EncoderError(
            f"{folder} holds no tokenizer files (tokenizer.json, vocab.txt, …), so no word could be told from another; "
            "copy those of the model from which it was trained into the folder (tokenizer.save_pretrained)"
        )
    with transformers_quiet(), refused(f"{folder}: the tokenizer cannot be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    own = set((getattr(tokenizer, "vocab_files_names", None) or {}).values()) - {"tokenizer_config.json"}
    names = sorted(own | {"tokenizer.json"})
    if own and not any((folder / name).is_file() for name in names):
        raise EncoderError(
            f"{folder} holds none of the files of a {type(tokenizer).__name__} ({', '.join(names)}), so no word could be told from "
            "another; copy those of the model from which it was trained into the folder"
        )
    return tokenizer


def tokenizer_file(folder: Path) -> Any:
    """The tokenizer of the folder's tokenizer.json, without its truncation and padding; None where there is no such file."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    with refused(f"{path} cannot be read"):
        file = Tokenizer.from_file(str(path))
    file.no_truncation()
    file.no_padding()
    return file


@contextmanager
def transformers_quiet() -> Iterator[None]:
    """Silences the library's report of a load and its progress bars."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextmanager
def refused(why: str) -> Iterator[None]:
    """Turns the exceptions of the libraries, whose classes each fail in their own way, into an `EncoderError`."""
    try:
        yield
    except EncoderError:
        raise
    except Exception as error:
        if "trust_remote_code=True" in str(error):
            raise EncoderError(
                f"{why}: the model needs Python code that lies in its own folder; read that code, and if you trust it set "
                "encoder.trust_remote_code=true"
            ) from None
        raise EncoderError(f"{why}: {described(error)}") from None
