"""Published classification files in their three formats, and plain text, CoNLL-U and Brown for language models."""

import gzip
import zipfile

import pytest

from probing import load_task
from probing.data.card import load_card, names
from probing.data.readers.formats import FORMATS, Line
from probing.data.readers.text import cut, sentences
from probing.errors import DataError

ROWS_CSV = ["a film;good", "no film;bad"]
ROWS = [("1", "a stirring , funny film"), ("0", "a dull film"), ("1", "so good"), ("0", "so bad")]


def write_sst2(root):
    for split in ("train", "dev", "test"):
        (root / f"stsa.binary.{split}").write_text("".join(f"{label} {text}\n" for label, text in ROWS))
    return root


def test_sentence_level_files(tmp_path):
    task = load_task("sst2", write_sst2(tmp_path))
    assert task.train.texts == tuple(text for _, text in ROWS) and task.train.labels.tolist() == [1, 0, 1, 0]
    assert task.paper_name == "SST-2" and task.data_card["notes"][0].startswith("4 sentence(s) occur in both train/dev")


def test_cola_files_in_a_folder_below_and_compressed(tmp_path):
    folder = tmp_path / "cola_public" / "raw"
    folder.mkdir(parents=True)
    content = "gj04\t1\t\tThe sailors rode .\ngj04\t0\t*\tSailors the rode .\n"
    for name in ("in_domain_train.tsv", "in_domain_dev.tsv"):
        (folder / name).write_text(content)
    (folder / "out_of_domain_dev.tsv.gz").write_bytes(gzip.compress(content.encode()))
    task = load_task("cola", tmp_path)
    assert task.test.texts == ("The sailors rode .", "Sailors the rode .") and task.test.labels.tolist() == [1, 0]


def test_glue_takes_its_dev_from_train_by_the_sentence(tmp_path):
    rows = [f"sentence number {k} \t{k % 2}\n" for k in range(400)]
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "".join(rows) + rows[7])
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nit 's good \t1\nit 's bad \t0\n")
    task = load_task("sst2_glue", tmp_path)
    assert task.test.texts == ("it 's good", "it 's bad")
    assert len(task.train) + len(task.dev) == 401 and 5 <= len(task.dev) <= 45
    assert not set(task.train.texts) & set(task.dev.texts)
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "".join(reversed(rows)))
    assert set(load_task("sst2_glue", tmp_path).dev.texts) == set(task.dev.texts)


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("sst2", "stsa.binary.dev", "1 fine\npositive film\n", "stsa.binary.dev, line 2: a row is 'label, blank, sentence'"),
        ("sst2", "stsa.binary.dev", "1\n", "line 1: a row is"),
        ("sst2", "stsa.binary.dev", "3 what a film\n", "stsa.binary.dev, line 1: label '3' of the dev split does not occur"),
    ],
)
def test_a_broken_row_is_named(tmp_path, name, file, content, message):
    (write_sst2(tmp_path) / file).write_text(content)
    with pytest.raises(DataError, match=message):
        load_task(name, tmp_path)


def test_other_formats_name_their_broken_rows(tmp_path):
    (tmp_path / "train.tsv").write_text("sentence\tlabel\nfine\n")
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nfine\t1\n")
    with pytest.raises(DataError, match="train.tsv, line 2: a row is 'sentence<TAB>label'"):
        load_task("sst2_glue", tmp_path)
    (tmp_path / "train.tsv").write_text("fine\t1\n")
    with pytest.raises(DataError, match="line 1: .*GLUE's file begins with"):
        load_task("sst2_glue", tmp_path)
    for name in ("in_domain_train.tsv", "in_domain_dev.tsv", "out_of_domain_dev.tsv"):
        (tmp_path / name).write_text("gj04\t1\tThree fields .\n")
    with pytest.raises(DataError, match="in_domain_train.tsv, line 1: a row is 'source<TAB>label<TAB>mark<TAB>sentence'"):
        load_task("cola", tmp_path)


def test_a_folder_without_them_is_refused(tmp_path):
    with pytest.raises(DataError, match="no stsa.binary.train, stsa.binary.dev, stsa.binary.test"):
        load_task("sst2", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: mine\nfiles: {train: a}\nformat: glue\n", "files must be a mapping with train and test"),
        ("name: mine\nfiles: {train: a, test: b}\nformat: csv\n", "format='csv' is unknown"),
    ],
)
def test_a_card_of_files_is_checked(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        load_card(str(tmp_path / "mine.yaml"))


def test_a_format_is_one_function_and_one_entry_of_the_table(tmp_path, monkeypatch):
    """A format with a column for the split needs one file, one without needs a file for each split."""
    monkeypatch.setitem(
        FORMATS, "csv", lambda path: (Line(path, 1 + k, *reversed(row.split(";"))) for k, row in enumerate(ROWS_CSV))
    )
    (tmp_path / "own.csv").write_text("unused")
    (tmp_path / "mine.yaml").write_text("name: mine\nfile: own.csv\nformat: csv\n")
    with pytest.raises(DataError, match="own.csv: the format csv has no column for the split"):
        load_task(str(tmp_path / "mine.yaml"), tmp_path)
    (tmp_path / "mine.yaml").write_text("name: mine\nfiles: {train: own.csv, dev: own.csv, test: own.csv}\nformat: csv\n")
    task = load_task(str(tmp_path / "mine.yaml"), tmp_path)
    assert task.test.texts == ("a film", "no film") and task.classes == ("bad", "good")
    (tmp_path / "mine.yaml").write_text("name: mine\nfile: own.csv\nformat: xml\n")
    with pytest.raises(DataError, match=r"format='xml' is unknown \(allowed: senteval, label-sentence, glue, cola, csv"):
        load_card(str(tmp_path / "mine.yaml"))


def test_the_three_cards_are_listed():
    assert {"sst2", "sst2_glue", "cola"} <= set(names())


@pytest.mark.shared
def test_the_real_files_have_the_published_sizes(shared):
    sizes = {name: [len(s) for s in load_task(name, shared / "data").splits.values()] for name in ("sst2", "cola")}
    assert sizes == {"sst2": [6920, 872, 1821], "cola": [8551, 527, 516]}
    glue = load_task("sst2_glue", shared / "data")
    assert len(glue.train) + len(glue.dev) == 67349 and len(glue.test) == 872


# Text.


def test_plain_text_skips_headings_and_cuts_paragraphs(tmp_path):
    path = tmp_path / "wiki.txt"
    path.write_text(" \n = A Title = \n \n one two . three four five . six\nshort line\n")
    assert list(sentences(path, 4)) == ["one two .", "three four five .", "six", "short line"]
    assert list(sentences(path, 100)) == ["one two . three four five . six", "short line"]
    assert list(cut([], 3)) == []


def test_conllu_gives_word_forms_without_multiword_and_empty_tokens(tmp_path):
    path = tmp_path / "a.conllu"
    row = "{}\t{}" + "\t_" * 8 + "\n"
    path.write_text("# text = can't go\n" + row.format("1-2", "can't") + row.format("1", "ca") + row.format("2", "n't")
                    + row.format("2.1", "_") + row.format("3", "go") + "\n" + row.format("1", "Stop"))  # fmt: skip
    assert list(sentences(path)) == ["ca n't go", "Stop"]
    path.write_text("1 no tabs\n")
    with pytest.raises(DataError, match="a.conllu, line 1"):
        list(sentences(path))


def test_brown_is_read_from_its_zip(tmp_path):
    path = tmp_path / "brown.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("brown/ca01", "\n\n\tThe/at jury/nn 1/2/cd said/vbd ./.\n\n\tYes/rb\n")
        archive.writestr("brown/README", "not/this")
    assert list(sentences(path)) == ["The jury 1/2 said .", "Yes"]
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match="cannot be read as a zip"):
        list(sentences(path))


def test_text_for_language_models_is_told_by_suffix_in_any_case(tmp_path):
    (tmp_path / "u.CONLLU").write_text("1\tthe\tx\n2\tcat\tx\n\n")
    assert list(sentences(tmp_path / "u.CONLLU")) == ["the cat"]


def test_a_zip_without_word_and_tag_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("__MACOSX/._ca01", "no text")
        archive.writestr("ca01", "The/at cat/nn\nhello world\n")
    with pytest.raises(DataError, match="ca01, line 2: 'hello' is not word/tag"):
        list(sentences(tmp_path / "z.zip"))
