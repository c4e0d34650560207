"""Tasks of words: items of a treebank, word vectors in the store, floors and controls by word type, and the whole table."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import processes
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from toys import ToyEncoder

from probing import evaluate
from probing.data.agreement import READ, Agreement
from probing.data.conllu import Treebank
from probing.data.frames import as_tasks
from probing.data.task import Task
from probing.data.words import Columns, task_of_columns
from probing.encoders.given import as_encoders
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.encoders.pooling import WORD_POOLINGS, WordPooler
from probing.errors import ConfigError, DataError
from probing.evaluation.statistics import standard_error
from probing.probes.controls import control_task, look_up, types_drawn, unsuited
from probing.probes.floors import predict
from probing.report.markdown import tables_by_fact
from probing.report.paper import title_of
from probing.report.terminal import terminal
from probing.store.vectors import Store
from probing.types import Representation

SENTENCE = """# newdoc id = {document}
# text = I don't know what 1 000 is.
1\tI\tI\tPRON\tPRP\tCase=Nom|Number=Sing\t4\tnsubj:outer\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=Yes
2\tdo\tdo\tAUX\tVBP\t_\t4\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t_\t_
4\tknow\tknow\tVERB\tVB\t_\t0\troot\t_\t_
5\twhat\twhat\tPRON\tWP\t_\t4\tccomp\t_\t_
6\t1 000\t1000\tNUM\tCD\tNumber=Plur\t5\tnsubj\t_\t_
6.1\tbe\tbe\tAUX\tVBZ\t_\t_\t_\t5:dep\t_
7\t.\t.\tPUNCT\t.\t_\t4\tpunct\t_\t_

"""
TEXT = "I do n't know what 1 000 ."


def treebank(root: Path, **sizes: int) -> Path:
    """A treebank of one sentence, repeated, with other first words."""
    for split, n in {"train": 12, "dev": 4, "test": 6, **sizes}.items():
        text = "".join(SENTENCE.format(document=f"d{k // 2}").replace("\tI\tI", f"\tI{split[0]}{k}\tI") for k in range(n))
        (root / f"xx-ud-{split}.conllu").write_text(text, encoding="utf-8")
    return root


def spans(task, split="train", first=7):
    return [task.splits[split].texts[i].split()[a:b] for i, (a, b) in enumerate(task.splits[split].spans[:first, :2])]


def test_tags_without_trees_are_tasks_and_trees_are_refused(tmp_path):
    whole = Treebank(str(treebank(tmp_path))).tasks(["upos", "Number"])
    for path in tmp_path.glob("*.conllu"):
        lines = [line.split("\t") for line in path.read_text().split("\n")]
        path.write_text("\n".join("\t".join([*line[:6], "_", "_", *line[8:]] if len(line) > 1 else line) for line in lines))
    tagged = Treebank(str(tmp_path))
    assert [task.sha256 for task in tagged.tasks(["upos", "Number"])] == [task.sha256 for task in whole]
    assert [task.name for task in tagged.tasks(None)] == ["upos"]
    with pytest.raises(DataError, match=r"22 sentences have no HEAD, which edge, tree needs \(without: upos, xpos, Case, Number\)"):
        tagged.tasks(["upos", "edge", "tree"])


def test_items_of_a_treebank_are_words_with_their_labels(tmp_path):
    names = ["upos", "xpos", "relation", "head_distance", "edge", "phrase", "tree", "Number"]
    tasks = dict(zip(names, Treebank(str(treebank(tmp_path))).tasks(names), strict=True))
    upos, edge, phrase, tree = (tasks[name] for name in ("upos", "edge", "phrase", "tree"))
    text = TEXT.replace("I", "It0", 1)
    assert set(upos.train.texts[:7]) == {text}
    assert spans(upos) == [["It0"], ["do"], ["n't"], ["know"], ["what"], ["1", "000"], ["."]]
    assert [upos.classes[k] for k in upos.train.labels[:7]] == "PRON AUX PART VERB PRON NUM PUNCT".split()
    relation = tasks["relation"]
    assert [relation.classes[k] for k in relation.train.labels[:7]] == "nsubj aux advmod root ccomp nsubj punct".split()
    assert tasks["xpos"].classes == (".", "CD", "PRP", "RB", "VB", "VBP", "WP")
    distance = tasks["head_distance"]
    assert distance.classes == ("-3", "-1", "1", "2", "3") and distance.card["ordered"]
    assert [distance.classes[k] for k in distance.train.labels[:6]] == ["3", "2", "1", "-1", "-1", "-3"]
    assert edge.train.spans[:7].tolist() == [
        [0, 1, 3, 4], [1, 2, 3, 4], [2, 3, 3, 4], [3, 4, 3, 4], [4, 5, 3, 4], [5, 7, 4, 5], [7, 8, 3, 4],
    ]  # fmt: skip
    assert phrase.train.spans[:2].tolist() == [[0, 8], [4, 7]]
    assert [phrase.classes[k] for k in phrase.train.labels[:2]] == ["root", "ccomp"]
    assert tree.kind == "regression" and tree.train.labels[:7].tolist() == [1, 1, 1, 0, 1, 2, 1]
    facts = {name: values[:8].tolist() for name, values in tree.train.facts.items()}
    assert facts["head"] == [3, 3, 3, -1, 3, 4, 3, 3] and facts["sentence"] == [0] * 7 + [1]
    assert facts["listed"] == facts["punct"] == [False] * 6 + [True, False]
    number = tasks["Number"]
    assert len(number.train) == 24 and number.classes == ("Plur", "Sing") and spans(number, first=2) == [["It0"], ["1", "000"]]
    assert upos.train.groups[:16] == ("d0",) * 14 + ("d1",) * 2 and upos.test.n_groups == 3
    assert len({task.sha256 for task in tasks.values()}) == len(tasks)


def test_which_files_and_documents_a_treebank_takes(tmp_path, caplog, capsys):
    root = treebank(tmp_path)
    (root / "xx-ud-test2.conllu").write_text(SENTENCE.format(document="other"), encoding="utf-8")
    [task] = Treebank(str(root)).tasks(["upos"])
    assert len(task.test) == 42 and "other" not in set(task.test.groups)
    assert "xx-ud-test2.conllu: left out" in capsys.readouterr().err
    [few] = Treebank(str(root), documents="d[01]").tasks(["upos"])
    assert (len(few.train), len(few.test)) == (28, 28) and set(few.train.groups) == {"d0", "d1"}
    [swapped] = Treebank(str(root), splits={"train": "dev", "test": "test"}).tasks(["upos"])
    assert len(swapped.train) + len(swapped.dev) == 28 and set(swapped.dev.groups).isdisjoint(swapped.train.groups)
    assert any("dev is 1 of 2 groups of the train split" in note for note in swapped.data_card["notes"])
    with pytest.raises(DataError, match=r"no dev split, and dev_from_train=0.1 of 1 group\(s\) of train: give"):
        Treebank(str(root), documents="d0", splits={"train": "dev", "test": "test"}).tasks(["upos"])
    [by_sentence] = Treebank(str(root), groups="sentence").tasks(["upos"])
    assert by_sentence.test.n_groups == 6 and by_sentence.groups_from == "sentences"
    [small] = Treebank(str(root), sentences=5).tasks(["upos"])
    assert len(small.train) == 35
    with pytest.raises(DataError, match=r"no task of words 'Numbr'; did you mean 'Number'\? \(allowed: upos, .*Case, Number\)"):
        Treebank(str(root)).tasks(["Numbr"])
    (root / "xx-ud-train.conllu").unlink()
    with pytest.raises(DataError, match=r"no sentence of train, but dev \(4\), test \(6\): .*data.splits"):
        Treebank(str(root)).tasks(None)
    with pytest.raises(DataError, match="no folder"):
        Treebank(str(root / "absent")).tasks(None)
    with pytest.raises(ConfigError, match=r"data.groups='doc' is unknown \(allowed: document, sentence\)"):
        Treebank(str(root), groups="doc")


def test_labels_that_train_lacks_are_left_out_and_counted(tmp_path):
    root = treebank(tmp_path)
    test = (root / "xx-ud-test.conllu").read_text().replace("\tPART\t", "\tX\t", 1)
    (root / "xx-ud-test.conllu").write_text(test)
    [task] = Treebank(str(root)).tasks(["upos"])
    assert len(task.test) == 41 and "1 word(s) of dev and test are left out: train lacks their labels" in task.data_card["notes"]


# Word vectors.


@given(st.lists(st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=1, max_size=7), min_size=1, max_size=4), st.data())
@settings(max_examples=40, deadline=None)
def test_words_are_pooled_from_their_pieces(owners, data):
    longest = max(map(len, owners))
    layer = torch.randn(len(owners), longest, 3, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    backward = torch.tensor([True, False, False])
    counts, row = [5] * len(owners), 0
    pooled = {name: WordPooler(owners, counts)(layer, name, backward) for name in WORD_POOLINGS}
    for sentence, words in enumerate(owners):
        for word in range(5):
            own = layer[sentence, [k for k, owner in enumerate(words) if owner == word]]
            expected = [own.mean(0), own[0], torch.where(backward, own[0], own[-1])] if len(own) else [torch.zeros(3)] * 3
            for name, vector in zip(WORD_POOLINGS, expected, strict=True):
                torch.testing.assert_close(pooled[name][row], vector)
            row += 1
    assert all(len(x) == row for x in pooled.values())


@pytest.mark.shared
def test_pieces_agree_with_the_reference_values(shared):
    for case in json.loads((shared / "oracles/probes.json").read_text())["pieces"]["cases"]:
        given_, expected = case["given"], case["expected"]
        owners = [None if k < 0 else k for k in given_["word_of_piece"]]
        n = len(expected["mean"])
        pooler = WordPooler([owners], [n])
        layer = torch.tensor(given_["vectors"])[None]
        assert torch.flatten((pooler.pieces == 0).nonzero()).tolist() == expected["words_without_vector"]
        for name in ("mean", "first", "last"):
            for word, vector in enumerate(expected[name]):
                got = pooler(layer, f"word-{name}")[word]
                torch.testing.assert_close(got, torch.tensor(vector or [0.0] * layer.shape[2]), atol=1e-6, rtol=0)


TEXTS = ("it's the cat .", "dogs see small-big cats and dogs", "w1 w2", "the cat sees w3 w4-w5-w6 or the dog")


def by_hand(encoder, text, pooling, layer):
    """The vectors of the words of one sentence, run alone."""
    [item], _ = encoder.tokenize([text])
    [owners] = encoder.word_ids([text])
    states = encoder.forward([item]).layers[layer][0]
    rows = []
    for word in range(len(text.split())):
        own = states[[k for k, owner in enumerate(owners) if owner == word]]
        rows.append({"word-mean": own.mean(0), "word-first": own[0], "word-last": own[-1]}[pooling])
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("dtype", ["float32", None])
def test_the_store_holds_the_words_of_every_sentence(tiny, tmp_path, dtype):
    encoder, store = HuggingFaceEncoder(str(tiny("bert"))), Store(tmp_path / "store", dtype)
    texts, at = zip(*((text, k) for text in TEXTS for k in range(len(text.split()))), strict=True)
    pairs = np.array([[k, k + 1, 0, 2] for k in at])
    order = np.random.default_rng(0).permutation(len(texts))
    vectors = store.vectors(encoder, TEXTS[:2], WORD_POOLINGS) and Store(tmp_path / "store", dtype).vectors(
        encoder, TEXTS, WORD_POOLINGS
    )
    rows = vectors.rows([texts[i] for i in order], pairs[order])
    for pooling in WORD_POOLINGS:
        expected = {text: by_hand(encoder, text, pooling, 2) for text in TEXTS}
        x = rows.get(Representation(2, pooling))
        assert x.shape == (len(texts), 32)
        for i, own in zip(order, x, strict=True):
            whole = np.concatenate([expected[texts[i]][at[i]], expected[texts[i]][:2].mean(0)])
            np.testing.assert_allclose(own, whole, atol=1e-5 if dtype else 6e-3)
    assert {path.name for path in (tmp_path / "store").glob("*/*/")} == {"+".join(WORD_POOLINGS) + ("" if dtype else "@float16")}
    assert Store(tmp_path / "store", dtype).estimate(encoder, TEXTS, ["word-mean"]).sentences == 0


def test_sentences_and_words_of_one_encoder_do_not_share_files(toy_encoder, tmp_path):
    store = Store(tmp_path)
    store.vectors(toy_encoder, ["a b"], ["mean"])
    store.vectors(toy_encoder, ["a b"], ["word-mean"])
    assert sorted(path.name for path in tmp_path.glob("*/*/")) == ["mean", "word-mean@float16"]


def test_words_cut_off_have_the_vector_0_and_are_counted(tiny, tmp_path, capsys):
    encoder, store = HuggingFaceEncoder(str(tiny("bert")), max_length=6), Store(tmp_path, "float32")
    text = "the cat sees dogs and cats"
    vectors = store.vectors(encoder, [text], ["word-mean"])
    x = vectors.rows([text] * 6, np.array([[k, k + 1] for k in range(6)])).get(Representation(1, "word-mean"))
    assert (x[:4] != 0).all() and (x[4:] == 0).all() and vectors.reading["lost"] == 2
    assert "2 of 6 words have no token of their own" in capsys.readouterr().err


def test_a_sentence_that_fails_has_no_words(tmp_path):
    encoder = ToyEncoder(poison="bad")
    with pytest.raises(Exception, match="no vectors for 1 of 3 sentences; the first, 'a bad day'.*not finite"):
        Store(tmp_path).vectors(encoder, ["a good day", "a bad day", "what else"], ["word-mean"])
    x = Store(tmp_path).vectors(encoder, ["a good day", "what else"], ["word-mean"])
    assert (x.rows(["what else"], np.array([[1, 2]])).get(Representation(1, "word-mean")) != 0).all()


# Floors and controls by word type.

LETTERS = "the a cat dog see saw big w1 w2 w3".split()
MANY = [*LETTERS, *(f"many{k}" for k in range(15))]


def tagged(n=120, seed=0, words=LETTERS, noise=0.2):
    """Sentences with a tag for each word: that of its type, or a random one."""
    rng = np.random.default_rng(seed)
    sentences = [[str(rng.choice(words)) for _ in range(rng.integers(2, 8))] for _ in range(n)]
    tag = {word: f"t{k % 3}" for k, word in enumerate(words)}
    tags = [[tag[word] if rng.random() > noise else f"t{rng.integers(3)}" for word in own] for own in sentences]
    splits = ["train" if k < n // 2 else "dev" if k < 3 * n // 4 else "test" for k in range(n)]
    return sentences, tags, splits


def task_of(n=120, seed=0, **options):
    import datasets

    sentences, tags, splits = tagged(n, seed, **options)
    parts = {
        split: datasets.Dataset.from_dict(
            {"text": [s for s, own in zip(sentences, splits, strict=True) if own == split],
             "label": [t for t, own in zip(tags, splits, strict=True) if own == split]}
        )
        for split in ("train", "dev", "test")
    }  # fmt: skip
    return Task.from_dataset(datasets.DatasetDict(parts), name="tags")


def test_a_data_set_with_a_tag_for_each_word_is_a_task_of_words():
    sentences, tags, splits = tagged()
    task = task_of()
    train = [k for k, own in enumerate(splits) if own == "train"]
    assert task.of_words and task.train.units == tuple(word for k in train for word in sentences[k])
    assert [task.classes[k] for k in task.train.labels] == [tag for k in train for tag in tags[k]]
    assert task.train.n_groups == len(train) and as_tasks(task) == [task]
    with pytest.raises(DataError, match="labels words, and its sentences have splits"):
        task.cross_validated(4, 0)


def test_the_floor_of_word_types_is_their_most_frequent_label():
    task = task_of(40, noise=0.5, words=[*LETTERS, *(f"rare{k}" for k in range(60))])
    counts = {word: Counter() for word in task.train.units}
    for word, label in zip(task.train.units, task.train.labels.tolist(), strict=True):
        counts[word][label] += 1
    usual = Counter(task.train.labels.tolist())
    most = {word: min(own, key=lambda label: (-own[label], label)) for word, own in counts.items()}
    expected = [most.get(word, min(usual, key=lambda label: (-usual[label], label))) for word in task.test.units]
    assert any(word not in most for word in task.test.units)
    np.testing.assert_array_equal(predict("word type", task)[1], expected)


def test_the_floor_of_pairs_reads_both_words_then_the_first():
    columns = {split: Columns() for split in ("train", "dev", "test")}
    ab, ac, aq, ba, qa = (0, 1, 1, 2), (0, 1, 2, 3), (0, 1, 3, 4), (1, 2, 0, 1), (3, 4, 0, 1)
    columns["train"].add(["a", "b", "c"], "s0", [(ab, "x"), (ac, "y"), (ac, "y"), (ba, "x")])
    for split in ("dev", "test"):
        columns[split].add(["a", "b", "c", "q"], "s0", [(pair, "x") for pair in (ab, ac, aq, qa)])
    task = task_of_columns(columns, {"name": "pairs"}, [], "by hand")
    assert [task.classes[k] for k in predict("word and neighbour", task)[1]] == ["x", "y", "y", "x"]
    assert task.test.units == ("a", "a", "a", "q") and task.test.beside == ("b", "c", "q", "a")


@pytest.mark.shared
def test_control_labels_of_types_are_those_of_the_released_code(shared):
    for case in json.loads((shared / "oracles/probes.json").read_text())["control_labels"]["cases"]:
        given_, expected = case["given"], case["expected"]
        texts = [text for split in ("train", "dev", "test") for text in given_[split]]
        types = list(dict.fromkeys(word for text in texts for word in text.split()))
        drawn = types_drawn(types, len(given_["p"]), np.array(given_["p"]), given_["seed"])
        assert drawn == expected["released"]["labels"]


def test_the_word_control_gives_each_type_one_label_and_its_look_up_is_the_ceiling():
    task = task_of(200, words=[*LETTERS, *(f"rare{k}" for k in range(40))])
    control = control_task(task, "word", 3)
    label_of: dict[str, int] = {}
    for split in control.splits.values():
        for word, label in zip(split.units, split.labels.tolist(), strict=True):
            assert label_of.setdefault(word, label) == label
    assert control_task(task, "word", 3).train.labels.tolist() == control.train.labels.tolist()
    assert control_task(task, "word", 4).train.labels.tolist() != control.train.labels.tolist()
    known = set(control.train.units)
    right = np.array([word in known for word in control.test.units])
    usual = np.bincount(control.train.labels).argmax()
    expected = np.mean(right | (control.test.labels == usual))
    assert (look_up(control)[1] == control.test.labels).mean() == pytest.approx(expected)


def agreement(root: Path, n: int = 40) -> Path:
    """Files of the format of Gulordava et al. 2018: item i has i % 3 attractors."""
    verbs = [("is", "are"), ("are", "is"), ("passes", "pass"), ("pass", "passes")]
    text = [f"the {'dog' if k % 2 else 'dogs'} n{k} {verbs[k % 4][0]} here . <eos>" for k in range(n)]
    (root / "subj_agr_filtered.text").write_text("\n".join(text) + "\n", encoding="utf-8")
    gold = ["\t".join(("3", *verbs[k % 4], str(k % 3))) for k in range(n)]
    (root / "subj_agr_filtered.gold").write_text("\n".join(gold) + "\n", encoding="utf-8")
    return root


def test_agreement_asks_for_the_number_of_a_verb_that_is_hidden_seen_or_to_come(tmp_path):
    tasks = {verb: Agreement(str(agreement(tmp_path)), verb=verb).tasks(None)[0] for verb in READ}
    hidden, seen, before = tasks.values()
    for i, text in enumerate(seen.train.texts):
        words = text.split()
        assert seen.train.units[i] == words[3] and hidden.train.texts[i].split() == [*words[:3], "[MASK]", *words[4:]]
        assert before.train.texts[i].split() == words[:3] and before.train.units[i] == words[2]
        assert seen.classes[seen.train.labels[i]] == {"is": "Sing", "are": "Plur", "passes": "Sing", "pass": "Plur"}[words[3]]
        assert seen.train.facts["attractors"][i] == int(words[2][1:]) % 3
    assert [len(split) for split in seen.splits.values()] == [24, 4, 12]
    with pytest.raises(ConfigError, match=r"data.verb='there' is unknown \(allowed: hidden, seen, before\)"):
        Agreement(str(tmp_path), verb="there").tasks(None)
    (tmp_path / "subj_agr_filtered.gold").write_text("9\tis\tare\t0\n" * 40, encoding="utf-8")
    with pytest.raises(DataError, match=r"subj_agr_filtered.gold, line 1: .* must be the position of a word"):
        Agreement(str(tmp_path)).tasks(None)


def test_a_score_is_also_given_by_a_fact_of_the_items(toy_encoder, tmp_path):
    [task] = Agreement(str(agreement(tmp_path, 200)), verb="seen").tasks(None)
    table = evaluate(task, toy_encoder, store=tmp_path / "s", layers=[1], controls=(), floors=["majority"])
    [(title, frame)] = tables_by_fact(table)
    assert title == "agreement by attractors: toy, word-mean" and frame[""].tolist() == ["majority", "layer 1"]
    gold, predicted = table.predictions(table.where(role="probe").cell.iloc[0])
    for value in range(3):
        own = task.test.facts["attractors"] == value
        right = 100 * (gold == predicted)[own].mean()
        assert frame[f"attractors {value} ({own.sum()})"].iloc[1].startswith(f"{right:.1f} [")


# The whole way.


def test_a_table_of_words_is_that_of_scikit_learn_on_the_stored_vectors(toy_encoder, tmp_path):
    task = task_of(160, words=MANY)
    table = evaluate(task, toy_encoder, store=tmp_path / "s", cells=tmp_path / "c", controls=["word"], floors="all")
    frame, floors = table.frame, table.where(role="floor").encoder
    assert set(frame.status) == {"done"} and set(floors) == {"majority", "word type", "word and neighbour"}
    texts = [text for split in task.splits.values() for text in split.texts]
    vectors, at = Store(tmp_path / "s").vectors(toy_encoder, texts, ["word-mean"]), Representation(1, "word-mean")
    x = {name: vectors.rows(own.texts, own.spans).get(at).astype(float) for name, own in task.splits.items()}
    mean, scale = x["train"].mean(0), x["train"].std(0)
    row = table.where(role="probe", layer=1).iloc[0]
    model = LogisticRegression(C=json.loads(row.chosen)["C"], max_iter=5000, tol=1e-8)
    model.fit((x["train"] - mean) / scale, task.train.labels)
    accuracy = (model.predict((x["test"] - mean) / scale) == task.test.labels).mean()
    assert row.accuracy == pytest.approx(accuracy, abs=1.5 / len(task.test))
    assert row.n_groups == task.test.n_groups == 40 and row.pooling == "word-mean"
    best = table.best().iloc[0]
    assert best.selectivity_low <= best.selectivity <= best.selectivity_high and np.isnan(best.ceiling)
    assert best.ceiling_lookup == pytest.approx(table.where(role="ceiling").accuracy.iloc[0])
    again = evaluate(task, toy_encoder, store=tmp_path / "s", cells=tmp_path / "c", controls=["word"], floors="all")
    assert again.frame.cell.tolist() == frame.cell.tolist()


def test_the_terminal_shows_other_measures_by_layer_and_the_title_names_them(toy_encoder, tmp_path):
    table = evaluate(task_of(80), toy_encoder, store=tmp_path, layers=[0, 2], controls=(), floors=(), probe=None, measures=["mdl"])
    text = terminal(table, [])
    [line] = [line for line in text.splitlines() if line.startswith("mdl") and "compression" in line and "control" not in line]
    for layer, shown in zip((0, 2), line.split()[-2:], strict=True):
        assert float(shown) == pytest.approx(table.frame.compression[table.frame.layer == layer].iloc[0], rel=1e-3)
    assert "layer 0  layer 2" in text and terminal(replace(table, frame=table.frame.head(0)), []) == ""
    paper = {"cite": "A paper", "probe": "mdl", "encoders": ["toy"]}
    assert title_of(paper, table, {}) == "A paper: its protocol; data: not the paper's files; encoder: toy"


def test_selectivity_has_the_interval_of_paired_differences_by_sentence(toy_encoder, tmp_path):
    task = task_of(160, words=MANY)
    table = evaluate(task, toy_encoder, store=tmp_path, layers=[1], controls=["word"], floors=())
    best, [true], [control] = table.best().iloc[0], table.where(role="probe").cell, table.where(role="control").cell
    x = table.by_item(true).astype(float) - table.by_item(control)
    sums = np.array([x[task.test.clusters == k].sum() for k in range(40)])
    sizes = np.bincount(task.test.clusters)
    error = np.sqrt(40 / 39 * ((sums - x.mean() * sizes) ** 2).sum()) / len(x)
    assert best.selectivity == pytest.approx(x.mean())
    assert (best.selectivity_high - best.selectivity_low) / 2 / error == pytest.approx(2.02, abs=0.1)


@pytest.mark.shared
def test_selectivity_agrees_with_the_reference_values(shared):
    for case in json.loads((shared / "oracles/probes.json").read_text())["selectivity"]["cases"]:
        given_, expected = case["given"], case["expected"]
        right, control, sentence = (np.array(given_[name]) for name in ("right", "control_right", "sentence"))
        difference = (right - control).astype(float)
        assert difference.mean() == pytest.approx(expected["selectivity"], abs=1e-6)
        assert standard_error(difference, sentence) == pytest.approx(expected["se_clustered"], abs=1e-6)
        assert standard_error(difference) == pytest.approx(expected["se_naive_paired"], abs=1e-6)
        assert right.mean() - given_["control_ceiling"] == pytest.approx(expected["ceiling_selectivity"], abs=1e-6)


def test_words_need_token_states_and_their_own_poolings(toy_encoder, tmp_path):
    task = task_of(60)
    with pytest.raises(ConfigError, match="pooling=mean: toy allows word-mean, word-first, word-last"):
        evaluate(task, toy_encoder, store=tmp_path, poolings="mean")
    [encoder] = as_encoders({"sums": lambda texts: np.ones((len(texts), 2), np.float32)})
    assert "word types (needed: 20)" in unsuited(task, "word") and not unsuited(task_of(60, words=MANY), "word")
    with pytest.raises(ConfigError, match="has no states of tokens, which tasks of words need"):
        evaluate(task, encoder, store=tmp_path)


@pytest.mark.shared
def test_floors_of_a_treebank_are_the_published_ones(shared):
    """Most frequent tag of the word type, EWT: counted by another program."""
    [task] = Treebank(str(shared / "data/ud_en_ewt")).tasks(["upos"])
    assert (len(task.train), len(task.dev), len(task.test)) == (204_577, 25_147, 25_094)
    dev, test = predict("word type", task)
    scores = [100 * (own == split.labels).mean() for own, split in ((dev, task.dev), (test, task.test))]
    assert scores == pytest.approx([86.12, 86.17], abs=0.005)
    known = set(task.train.units)
    assert 100 * np.mean([word in known for word in task.test.units]) == pytest.approx(90.87, abs=0.005)


def test_the_command_line_measures_words(tmp_path):
    root = tmp_path / "bank"
    root.mkdir()
    treebank(root, train=40, test=12)
    words = (
        "run",
        "data=conllu",
        f"data.root={root}",
        f"run.dir={tmp_path}/out",
        "encoder=lstm",
        "encoder.hidden=8",
        "encoder.embedding_dim=8",
    )
    done = processes.run("-m", "probing", *words, "task=upos,edge,tree", "floors=majority,nb-unigram", "controls=word")
    assert done.returncode == 0, done.stderr
    report = next((tmp_path / "out/runs").glob("*/table.md")).read_text()
    assert "ceiling (word look-up)" in report and "word type" in report and " items (train/dev/test)" in report
    failed = processes.run("-m", "probing", *words, "task=tree_depth")
    assert failed.returncode == 2 and "has no task of words 'tree_depth'; did you mean 'tree'?" in failed.stderr
