"""Runs `probing` on bad input, and writes the message and exit code of each case.

Usage: python scripts/trials/bad_inputs.py OUT [N]      (N: only the first N cases)
Data are from the built-in grammar; the encoder is MiniLM on one layer, so that it takes a few minutes. Paths are shortened to DIR.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from probing.data.builders import grammar_tasks

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import table

FULL = """import errno, sys, safetensors.numpy as s
def full(*a): raise OSError(errno.ENOSPC, 'No space left on device')
s.save_file = full
"""
NAN = """import probing.encoders.hf.huggingface as h
plain = h.HuggingFaceEncoder.forward
def poisoned(self, items):
    states = plain(self, items)
    return h.States([layer * float('nan') for layer in states.layers], states.mask)
h.HuggingFaceEncoder.forward = poisoned
h.HuggingFaceEncoder.pooled = None
"""


def run(*words: str, patch: str = "") -> tuple[int, str]:
    """Exit code and the last lines of stderr of `probing WORDS`, with some Python run first."""
    code = f"{patch}\nimport sys\nsys.argv = ['probing', *{list(words)!r}]\nfrom probing.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    noise = ("cells:", "sentences, about", "left out")
    lines = [line for line in done.stderr.splitlines() if not any(part in line for part in noise)]
    return done.returncode, "\n".join(lines[-3:])


def main(out: Path, only: int | None = None) -> None:
    home = Path(tempfile.mkdtemp())
    root = grammar_tasks(home / "g", n=400)
    file = root / "bigram_shift.txt"
    whole = file.read_text()
    small = ["data=senteval", f"data.root={root}", "layer=1", "pooling=mean", "floors=majority", "controls=none"]
    small.append("task=bigram_shift")
    lines = whole.splitlines()
    cases: list[tuple[str, int, str]] = []

    def case(title: str, *words: str, content: str | None = None, patch: str = "", folder: str = "out") -> None:
        if only is not None and len(cases) >= only:
            return
        file.write_text(whole if content is None else content)
        cases.append((title, *run("run", *small, f"run.dir={home / folder}", *words, patch=patch)))
        file.write_text(whole)

    case("missing folder", f"data.root={home / 'nowhere'}")
    case("unknown task", "task=odd_man_in")
    case("missing file", f"data.root={home}")
    case("two columns in line 3", content="\n".join([*lines[:2], "tr\tI", *lines[3:]]) + "\n")
    case("unknown split in line 1", content="\n".join(["xx\tI\ta b c", *lines[1:]]) + "\n")
    case("unknown label in test", content=whole + "te\tX\ta b c d e\n")
    case("empty sentence at the end", content=whole + "te\tI\t \n")
    case("NaN vectors", patch=NAN, folder="nan")
    case("wrong hub id, offline", "encoder=hf", "encoder.name=no-such/model")
    case("full disk (write mocked)", patch=FULL, folder="full")
    case("folder that cannot be written", "run.dir=/proc/probing")
    case("a file where the folder should be", f"run.dir={file}/out")
    case("misspelt encoder", "encoder=minlm")
    case("misspelt key", "encoder.poling=mean")
    case("wrong type", "encoder.max_length=long")
    case("layer that is not there", "layer=9")
    if only is None:
        cases += killed_and_at_once(small, home)
    write(cases, out, home)


def killed_and_at_once(small: list[str], home: Path) -> list[tuple[str, int, str]]:
    """A run killed in its extraction and started again; the same run twice at the same time."""
    words = [sys.executable, "-m", "probing", "run", *small, f"run.dir={home / 'kill'}"]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    while not list((home / "kill").glob("store/*/*/*/sentences.json")) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = ("killed in extraction, then the same command", *run("run", *words[4:]))
    both = [subprocess.Popen([*words[:-1], f"run.dir={home / 'two'}"], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [(p.communicate()[1], p.returncode) for p in both]
    messages = "\n".join(errors.splitlines()[-1] for errors, _ in ends)
    return [resumed, ("two runs at once", max(code for _, code in ends), messages)]


def write(cases: list[tuple[str, int, str]], out: Path, home: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = [
        (title, code, message.replace(str(home), "DIR").replace("|", "\\|").replace("\n", "<br>")) for title, code, message in cases
    ]
    head = ["# Bad input, and the messages", "", "Made by `python scripts/trials/bad_inputs.py results/bad-inputs`.", ""]
    (out / "README.md").write_text("\n".join([*head, *table(["case", "exit code", "message"], rows), ""]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
