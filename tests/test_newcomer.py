"""README's example in Python. The other first steps are in test_first_minute, test_commands and test_front_door."""

import re
from pathlib import Path

from probing import load_encoder

ROOT = Path(__file__).resolve().parents[1]


def test_the_python_of_the_readme_prints_every_column(tmp_path, monkeypatch, capsys):
    """Here of fewer sentences and a small network; the frame is shown without pandas' dots, with the head that README prints."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code, printed = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL).groups()
    small = code.replace("n=2000", "n=800").replace('"minilm"', "network").replace('"subj_number"', '"sentence_length"')
    assert small.count("network") == 1 and "n=800" in small
    exec(compile(small, "README.md", "exec"), {"network": load_encoder("lstm", hidden=4, embedding_dim=4)})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == printed.splitlines()[0].split() and "..." not in "".join(lines)
    assert [line.split()[0] for line in lines[1:]] == ["bigram_shift", "sentence_length"]
