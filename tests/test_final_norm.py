"""The option final_norm: every layer after the model's final norm, as in models that are cut to so many blocks."""

import pytest
import torch
import transformers

from probing import load_encoder
from probing.encoders.base import pooled
from probing.errors import EncoderError


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_final_norm_of_every_layer_is_that_of_a_model_cut_to_so_many_blocks(tiny, kind):
    """Skean et al. 2025 set num_hidden_layers to k and take the last state: layer k with the norm of the whole model."""
    folder = tiny(kind)
    encoder = load_encoder("hf", name=str(folder), final_norm=True)
    items = encoder.tokenize(["the cat sees the dog", "a big dog ran because it saw cats"])[0]
    states, mask = encoder.forward(items).layers, encoder.forward(items).mask
    own = pooled(encoder, items, ["mean"]).vectors["mean"]
    plain = load_encoder("hf", name=str(folder)).forward(items).layers
    assert encoder.name.endswith("[final_norm=True]") and len(states) == 3
    for k in range(3):
        cut = transformers.AutoModel.from_pretrained(folder, num_hidden_layers=k).eval()
        for row, item in enumerate(items):
            with torch.no_grad():
                expected = cut(torch.tensor([item])).last_hidden_state[0]
            assert torch.allclose(states[k][row][mask[row]], expected, atol=1e-5)
            assert torch.allclose(own[k][row], expected.mean(0), atol=1e-5)
        assert torch.allclose(states[k], plain[k], atol=1e-5) == (k == 2)  # without the option only the last has it
    assert encoder.layer_names[:2] == ("embeddings + final norm", "block 1 + final norm")


def test_a_model_without_a_final_norm_has_none_to_apply(tiny):
    with pytest.raises(EncoderError, match="final_norm=true, but its last layer"):
        _ = load_encoder("hf", name=str(tiny("bert")), final_norm=True).dims
