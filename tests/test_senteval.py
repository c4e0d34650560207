"""The reader of three-column files: what was written is read, and what is broken is named by file and line."""

from __future__ import annotations

import gzip
import lzma
import os
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from probing.data.readers import formats
from probing.data.readers.files import find_file, read_bytes
from probing.errors import DataError

PACK = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}
ODD = "a\u0085b c\u2028d\u2029e \x0b\x0c\x1c\x1d\x1e \u00a0 \ufeff \U0001f600 e\u0301 \"bare 'quotes\" \\t 'til"
GOOD = "tr\tI\tone\nva\tO\ttwo\nte\tI\tthree\n"

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n"), min_size=1)
field = text.filter(lambda s: s.strip() and not s.endswith("\r"))
rows = st.lists(st.tuples(st.sampled_from(["tr", "va", "te"]), field, st.lists(text, max_size=2), field), min_size=1, max_size=6)


def saved(folder: Path, content: str | bytes, name: str = "task.txt") -> Path:
    path = folder / name
    path.write_bytes(PACK[path.suffix if path.suffix in PACK else ""](content if isinstance(content, bytes) else content.encode()))
    return path


@settings(deadline=None, max_examples=60)
@given(rows=rows, suffix=st.sampled_from(list(PACK)), end=st.sampled_from(["\n", "\r\n"]), last=st.booleans())
@example(rows=[("tr", "O", [], ODD), ("te", '"', ['"'], '"')], suffix="", end="\n", last=True)
@example(rows=[("va", "N\u2028N", [""], ODD)], suffix=".xz", end="\r\n", last=False)
def test_what_is_written_is_read(tmp_path_factory, rows, suffix, end, last):
    """Split, label and sentence survive whatever Unicode they hold, the packing, the line ends and the last line's end."""
    content = end.join("\t".join([split, label, *between, sentence]) for split, label, between, sentence in rows)
    assume("\r" not in content or "\n" in content or last)  # in a file without any LF, CR ends a line
    path = saved(tmp_path_factory.mktemp("round"), content + (end if last else ""), f"task.txt{suffix}")
    expected = [(k, None, formats.SPLITS[s], label, sentence) for k, (s, label, _, sentence) in enumerate(rows, start=1)]
    assert [(r.number, r.task, r.split, r.label, r.sentence) for r in formats.read_senteval(path)] == expected


def test_fields_in_between_are_ignored_and_the_last_is_the_sentence(tmp_path):
    (row,) = formats.read_senteval(saved(tmp_path, "tr\tNN\tcat\tCD NN\tthe cat .\n"))
    assert (row.task, row.split, row.label, row.sentence) == (None, "train", "NN", "the cat .")


def test_a_leading_task_column_is_told_from_a_split(tmp_path):
    path = saved(tmp_path, "tense\ttr\tPAST\tit ran .\ntr\tPAST\tva\tit ran .\nlength\tte\t3\tx\tit ran .\n")
    found = [(r.task, r.split, r.label, r.sentence) for r in formats.read_senteval(path)]
    assert found == [
        ("tense", "train", "PAST", "it ran ."),
        (None, "train", "PAST", "it ran ."),  # a second field that looks like a split does not make the first a task
        ("length", "test", "3", "it ran ."),
    ]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("tr\tI", ["2 tab-separated field(s)", "'split<TAB>label<TAB>sentence'", r"'tr\tI'"]),
        ("tr I it ran .", ["1 tab-separated field(s)", "'tr I it ran .'"]),
        ("", ["1 tab-separated field(s)"]),
        ("dev\tI\tit ran .", ["'dev'", "one of tr, va, te"]),
        ("TR\tI\tit ran .", ["'TR'", "one of tr, va, te"]),
        ("tr\t \tit ran .", ["the label (second field) is empty"]),
        ("tr\tI\t  ", ["the sentence (last field) is empty"]),
        ("tr\tI\tit ran .\t", ["the sentence (last field) is empty"]),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path, broken, said):
    path = saved(tmp_path, GOOD + broken + "\n" + GOOD)
    with pytest.raises(DataError) as caught:
        list(formats.read_senteval(path))
    for part in [f"{path}, line 4:", *said]:
        assert part in str(caught.value)


def test_a_sound_file_is_not_refused(tmp_path):
    """The negative control of the checks above."""
    assert len(list(formats.read_senteval(saved(tmp_path, GOOD + GOOD)))) == 6


def test_an_empty_file_is_refused(tmp_path):
    path = saved(tmp_path, "")
    with pytest.raises(DataError, match="line 1: 1 tab-separated field"):
        list(formats.read_senteval(path))


def test_text_that_is_not_utf8_is_named_by_file_and_byte(tmp_path):
    path = saved(tmp_path, b"tr\tI\tcaf\xe9 .\n")
    with pytest.raises(DataError) as caught:
        list(formats.read_senteval(path))
    for part in (str(path), "not UTF-8", "byte 8", "iconv"):
        assert part in str(caught.value)


def flipped(content: bytes) -> bytes:
    """One byte changed in the middle of a compressed body."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


BODY = "".join(f"tr\tI\tsentence number {k * k % 977} of it\n" for k in range(400)).encode()


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
@pytest.mark.parametrize(
    "damage",
    [lambda b: b[: len(b) // 2], flipped, lambda b: b"tr\tI\tplain text\n", lambda b: b[:-2], lambda b: b[:10] + b"\xff" * 50],
    ids=["truncated", "flipped", "plain", "tail lost", "body overwritten"],
)
def test_a_damaged_archive_is_an_error_with_the_file_named(tmp_path, suffix, damage):
    path = tmp_path / f"task.txt{suffix}"
    path.write_bytes(PACK[suffix](BODY))
    assert len(list(formats.read_senteval(path))) == 400  # undamaged, it is read
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        list(formats.read_senteval(path))
    assert f"{path} cannot be read" in str(caught.value)


def test_a_missing_file_and_a_folder_in_its_place_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no file .*nothing\.txt"):
        list(formats.read_senteval(tmp_path / "nothing.txt"))
    with pytest.raises(DataError) as caught:
        list(formats.read_senteval(tmp_path))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("suffix", list(PACK))
def test_a_file_is_found_plain_or_packed(tmp_path, suffix):
    assert find_file(tmp_path, "task.txt") is None
    saved(tmp_path, GOOD, "task.txt.old")
    assert find_file(tmp_path, "task.txt") is None
    path = saved(tmp_path, GOOD, f"task.txt{suffix}")
    assert find_file(tmp_path, "task.txt") == path
    assert read_bytes(path) == GOOD.encode()


@pytest.mark.parametrize("pair", [("", ".gz"), ("", ".xz"), (".gz", ".xz")])
def test_two_copies_are_not_chosen_from(tmp_path, pair):
    for suffix in pair:
        saved(tmp_path, GOOD, f"task.txt{suffix}")
    with pytest.raises(DataError) as caught:
        find_file(tmp_path, "task.txt")
    for part in (str(tmp_path), *(f"task.txt{suffix}" for suffix in pair), "keep one"):
        assert part in str(caught.value)


@pytest.mark.shared
def test_the_sample_rows_are_read_with_their_task():
    """39 rows with a task column, of all ten tasks, as a plain split at tabs has them."""
    from probing.data.card import SENTEVAL

    path = Path(os.environ["PROBING_SHARED"]) / "data" / "senteval_probing" / "sample_rows.txt"
    plain = [line.split(b"\t") for line in path.read_bytes().split(b"\n") if line]
    found = list(formats.read_senteval(path))
    assert len(found) == len(plain) == 39
    codes = {name: code for code, name in formats.SPLITS.items()}
    assert [[x.decode() for x in (p[0], p[1], p[2], p[-1])] for p in plain] == [
        [r.task, codes[r.split], r.label, r.sentence] for r in found
    ]
    assert {r.task for r in found} == set(SENTEVAL) and len(SENTEVAL) == 10
