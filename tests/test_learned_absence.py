"""Learned vectors of absent words: never more terms than the masking that they begin with, and no absence at all without a box."""

import numpy as np
import pandas as pd
import pytest
from test_attribute import TEXT
from test_concepts import SMALL, config_of
from test_gradients import head_for
from toys import ToyEncoder

from probing import load_encoder
from probing import studies as job
from probing.attributions.and_or import and_or
from probing.attributions.coalitions import coalition_table
from probing.attributions.learned_absence import learned
from probing.attributions.word_function import NotApplicable
from probing.errors import ConfigError
from probing.store.vectors import Store
from probing.studies.concepts import ConceptsStudy


def total(v):
    return and_or(v).strengths.sum()


@pytest.fixture(scope="module")
def nets(tiny):
    made = {
        "lstm": load_encoder("lstm", **SMALL),
        "cnn": load_encoder("cnn", embedding_dim=12, filters=4, buckets=200),
        "hf": load_encoder("hf", name=str(tiny("bert"))),
    }
    return {name: (encoder, head_for(encoder, pooling="mean")) for name, encoder in made.items()}


@pytest.mark.parametrize("name", ["lstm", "cnn", "hf"])
def test_the_sum_of_the_terms_falls_and_the_whole_sentence_stays(nets, name):
    encoder, head = nets[name]
    fixed = coalition_table(encoder, head, TEXT, "zero")
    target = fixed.classes[fixed.predicted]
    before, after = learned(encoder, head, TEXT, "zero", target)
    np.testing.assert_allclose(before, fixed.value(target), atol=1e-5)
    assert after[-1] == pytest.approx(before[-1], abs=1e-5), "no word of the whole sentence is absent"
    assert total(after) < 0.97 * total(before)
    still, same = learned(encoder, head, TEXT, "zero", target, radius=0.0)
    np.testing.assert_allclose(same, still, atol=1e-6)


def test_a_wide_box_takes_the_effect_away_with_the_terms(nets):
    """Which is why the box is narrow, and the effect stands beside the sum."""
    encoder, head = nets["cnn"]
    kept = []
    for radius in (0.1, 3.0):
        before, after = learned(encoder, head, TEXT, "zero", radius=radius)
        kept.append(abs(after[-1] - after[0]) / abs(before[-1] - before[0]))
    assert kept[0] > 0.6 and kept[1] < 0.3


def test_mistakes_have_a_message(nets):
    encoder, head = nets["lstm"]
    with pytest.raises(ConfigError, match="9 words: vectors of absent words are learned for at most 8"):
        learned(encoder, head, "a b c d e f g h i", "zero")
    with pytest.raises(NotApplicable, match="masking=delete puts no vector"):
        learned(encoder, head, TEXT, "delete")
    style = load_encoder("elmo-style")
    with pytest.raises(ConfigError, match="has no table of word vectors"):
        learned(style, head_for(style), TEXT, "zero")
    with pytest.raises(ConfigError, match="no gradient passes"):
        learned(ToyEncoder(), head, TEXT, "delete")
    with pytest.raises(ConfigError, match=r"study.learned=true, study.words=\[4, 9\]"):
        ConceptsStudy(words=[4, 9], learned=True)


def test_the_study_shows_them_beside_all_fixed_maskings(tmp_path):
    few = {"concepts": ["subj_number"], "layers": [-1], "sentences": 2, "test": 20, "permutations": 30, "games": 2}
    config = config_of(tmp_path, **few, learned=True)
    folder = job.run(config, tmp_path, Store(tmp_path / "store"), ("past_present",), (0,))
    terms = pd.read_csv(folder / "terms.csv").set_index(["model", "sentence"])
    fixed = ["mask", "pad", "unknown", "zero", "mean"]
    assert list(dict.fromkeys(terms.index.get_level_values(0))) == [
        "itself", *(f"itself, {name}" for name in fixed), "itself, learned from pad"
    ]  # fmt: skip
    assert (terms.loc["itself, learned from pad"].strength <= terms.loc["itself, pad"].strength * (1 + 1e-4)).all()
    np.testing.assert_allclose(terms.loc["itself"].strength, terms.loc["itself, pad"].strength)
    assert (terms["T"] >= 0).all() and (terms.effect >= 0).all()
    assert "sum / effect" in (folder / "table.md").read_text()
