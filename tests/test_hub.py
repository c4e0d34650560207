"""Folders that are not one model's are refused by what they are, with what to do."""

import shutil

import pytest

from probing import load_encoder
from probing.errors import EncoderError


def test_a_folder_that_is_not_one_models_says_what_it_is(tiny, tmp_path):
    adapter, old, trained = tmp_path / "adapter", tmp_path / "old", tmp_path / "trained"
    for folder in (adapter, old, trained):
        folder.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "bert-base-uncased"}')
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    message = f"is a PEFT adapter, .* of another model: give encoder.name=bert-base-uncased encoder.adapter={adapter}"
    for _ in range(2):  # an adapter may come with its model's config
        with pytest.raises(EncoderError, match=message):
            load_encoder("hf", name=str(adapter)).dims  # noqa: B018
        shutil.copy(tiny("bert") / "config.json", adapter)
    shutil.copy(tiny("bert") / "model.safetensors", adapter)
    assert load_encoder("hf", name=str(adapter)).folder == adapter, "merged into the folder"
    for folder in (old / "0_Transformer", trained / "checkpoint-500"):
        shutil.copytree(tiny("bert"), folder)
    (old / "modules.json").write_text("[]")
    (old / "1_Pooling").mkdir()
    (old / "1_Pooling" / "config.json").write_text("{}")
    with pytest.raises(EncoderError, match=f"sentence-transformers model in its old layout.*encoder.name={old}/0_Transformer"):
        load_encoder("hf", name=str(old)).dims  # noqa: B018
    assert load_encoder("hf", name=str(old / "0_Transformer")).dims
    with pytest.raises(EncoderError, match="no config.json .it holds checkpoint-500.; a model lies in checkpoint-500: give .*-500"):
        load_encoder("hf", name=str(trained)).dims  # noqa: B018
