"""Records name no path of one machine, and no tracked file does."""

import re
import subprocess
from pathlib import Path

import pytest

from probing import paths

ROOT = Path(__file__).resolve().parents[1]
MACHINE = re.compile(rb"(?<![A-Za-z0-9.])/(?:work|root|tmp)/[A-Za-z]")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A repository, a shared folder and a home, all inside the temporary folder."""
    for name in ("repository", "shared", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(paths, "_ROOT", tmp_path / "repository")
    monkeypatch.setattr(paths.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("PROBING_SHARED", str(tmp_path / "shared"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "python @/repository/scripts/x.py @/shared/data --out=@/o1/a",
            "python scripts/x.py $PROBING_SHARED/data --out=$TMPDIR/o1/a",
        ),
        ("@/repository", "."),
        ("@/home", "$HOME"),
        ("@/shared-not/x", "$TMPDIR/shared-not/x"),
        ("@/home/my models/one", "$HOME/my models/one"),
        ("task=@/shared/d:past_present,@/home/b", "task=$PROBING_SHARED/d:past_present,$HOME/b"),
        ("+hooks={folder:@/log,seconds:1} '@/x y'", "+hooks={folder:$TMPDIR/log,seconds:1} '$TMPDIR/x y'"),
        ("/srv/corpora/sst", "…/sst"),
        ("https://example.org/a/b </s> and/or 1/2 results/store ../shared/data", None),
    ],
)
def test_a_record_names_no_path_of_this_machine(folders, text, expected):
    text = text.replace("@", str(folders))
    short = paths.portable(text)
    assert short == (text if expected is None else expected)
    assert paths.portable(short) == short  # records are read and written again


def test_every_text_of_a_record_is_looked_at(folders):
    record = {
        "config": {"run": {"dir": folders / "out"}, "layers": [1, 2.5, None, True]},
        str(folders / "home" / "n"): [f"{folders}/x"],
    }
    expected = {"config": {"run": {"dir": "$TMPDIR/out"}, "layers": [1, 2.5, None, True]}, "$HOME/n": ["$TMPDIR/x"]}
    assert paths.portable(record) == expected


def test_a_link_to_a_folder_counts_as_the_folder(folders, monkeypatch):
    (folders / "link").symlink_to(folders / "shared")
    monkeypatch.setenv("PROBING_SHARED", str(folders / "link"))
    assert paths.portable(f"{folders}/link/a {folders.resolve()}/shared/b") == "$PROBING_SHARED/a $PROBING_SHARED/b"


@pytest.mark.needs("git")
def test_no_tracked_file_names_a_path_of_one_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip("not a checkout of git")
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert len(files) > 100
    amiss = [str(file.relative_to(ROOT)) for file in files if file.is_file() and MACHINE.search(file.read_bytes())]
    assert amiss == []
