"""Dry runs of the papers on codes, on a treebank of the official format and a model of the right shape with random weights."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from probing.paths import CONF

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (CONF / "data" / "conllu.yaml").is_file(), reason="tasks of words are not there yet")


def script(name):
    path = ROOT / "scripts" / "reproduce" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"reproduce_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def treebank(tmp_path):
    """Sentences of determiner, noun, verb: the tag of a word type is always the same, but for w18, noun or verb."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 150), ("dev", 20), ("test", 20)):
        lines = []
        for k in range(n):
            noun, verb = f"w{rng.integers(3, 19)}", f"w{rng.integers(18, 32)}"
            lines += [f"# sent_id = {split}{k}", f"# text = w1 {noun} {verb}"]
            for at, (word, tag, head) in enumerate((("w1", "DET", 2), (noun, "NOUN", 3), (verb, "VERB", 0)), start=1):
                lines.append(f"{at}\t{word}\t{word}\t{tag}\t{tag}\t_\t{head}\t{'root' if not head else 'dep'}\t_\t_")
            lines.append("")
        (tmp_path / f"xx-{split}.conllu").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_voita_titov2020(treebank, tiny, tmp_path):
    paper = script("voita_titov2020")
    table = paper.main(str(treebank), [str(tiny("bert"))], store=tmp_path / "store", shuffles=2)
    frame = table.frame[table.frame.role == "probe"]
    assert (frame.status == "done").all() and set(frame.layer) == {0, 1, 2}
    assert np.allclose(frame.uniform_bits, frame.n_train * np.log2(3)) and (frame.compression > 1).all()
    assert (frame.labels_control == "word").all() and "control_compression" in paper.shown(table)


def test_pimentel2020(treebank, tiny, tmp_path):
    paper = script("pimentel2020")
    tables = paper.main(str(treebank), [str(tiny("bert"))], store=tmp_path / "store")
    assert list(tables) == list(paper.CONTROLS)
    for control, table in tables.items():
        frame = table.frame[table.frame.role == "probe"]
        assert (frame.status == "done").all(), frame.error.tolist()
        assert (frame.gain_over == control).all() and frame.gain.notna().all()
    assert "one-hot" in paper.shown(tables)
