"""A transcript of runs with failing models and probes.

Usage: python scripts/trials/failing_models.py OUT      (about a minute)
Writes OUT/failing-models.md, the transcript, and OUT/failing-models.json, its manifest. Data are from the built-in grammar; models
are tiny. Each command runs in a fork of this process, in a temporary folder. A few lines of Python, shown in the transcript, make a
model fail.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers.models.bert.modeling_bert import BertEmbeddings

from probing import cli
from probing.data.builders import grammar_tasks
from probing.encoders.user.python import SENTENCES
from probing.probes.senteval import SentEvalTorch
from probing.provenance import processor
from probing.report import write as report

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, write_json

SMALL = ["data=senteval", "data.root=data", "task=bigram_shift,past_present", "pooling=mean", "controls=none", "run.dir=out"]
USER_CODE = """
from pathlib import Path


def encode(texts):
    table = dict(line.split("\\t") for line in Path("table.txt").read_text().splitlines())
    return [[float(table[word]) for word in (text.split()[0], text.split()[-2])] for text in texts]
"""
TOO_LONG = """
def forward(self, input_ids=None, **rest):
    if input_ids.shape[1] > 16:
        raise IndexError("index out of range in self")
    return plain_embeddings(self, input_ids=input_ids, **rest)


BertEmbeddings.forward = forward
"""
NO_LAYERS = """
def forward(self, *given, **rest):
    raise AttributeError("'NoneType' object has no attribute 'shape'")


BertEmbeddings.forward = forward
"""
FAILING_FIT = """
def fit(self, load, columns, label_sets, task, n_classes, seed):
    if task == "bigram_shift" and (columns[0].layer, seed) in FAILING:
        raise ArithmeticError("the loss is not finite")
    yield from plain_fit(self, load, columns, label_sets, task, n_classes, seed)


SentEvalTorch.fit = fit
"""
plain_embeddings, plain_fit = BertEmbeddings.forward, SentEvalTorch.fit


class Transcript:
    """Commands in the folder `home` and their output, as Markdown."""

    def __init__(self, home: Path):
        self.home, self.lines = home, []

    def text(self, *paragraphs: str) -> None:
        self.lines += [part for paragraph in paragraphs for part in (paragraph, "")]

    def code(self, language: str, content: str) -> None:
        self.lines += [f"```{language}", content.strip("\n"), "```", ""]

    def command(self, *words: str, broken: Callable[[], None] | None = None, show: Callable[[str], str] | None = None) -> str:
        """Runs `probing WORDS` in a fork, writes down the command, its output and its exit code; returns the output."""
        log = self.home / "log.txt"
        if (pid := os.fork()) == 0:
            self._child(words, log, broken)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        output = self._plain(log.read_text(encoding="utf-8"))
        self.code("console", f"$ probing {' '.join(words)}\n{(show(output) if show else output).rstrip()}\n(exit code {code})")
        return output

    def _child(self, words: tuple[str, ...], log: Path, broken: Callable[[], None] | None) -> None:
        with log.open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        if broken:
            broken()
        sys.argv, code = ["probing", *words], 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def tables(self, folder: Path) -> None:
        """The first table of table.md and its line about failures."""
        lines = self._plain((folder / "table.md").read_text(encoding="utf-8")).splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("| task"))
        stop = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
        self.code("text", "\n".join([*lines[start:stop], "", *(line for line in lines if line.startswith("- §"))]))

    def _plain(self, output: str) -> str:
        """The output without the folder and without the lines on the amount of work."""
        output = output.replace(f"{self.home.resolve()}/", "").replace(str(self.home), ".")
        noise = ("sentences, about", "no random-weights twin")
        return "\n".join(line for line in output.splitlines() if not any(part in line for part in noise))


def explained(*fields: str) -> Callable[[str], str]:
    """A function that keeps these fields of the output of `explain`; dots between levels."""

    def show(output: str) -> str:
        record, lines = json.loads(output), []
        for field in fields:
            value = record
            for name in field.split("."):
                value = value[name]
            lines.append(f"{field}: {json.dumps(value, ensure_ascii=False)}")
        return "\n".join(lines) + "\n…"

    return show


def save_bert(folder: Path, words: list[str]) -> transformers.BertModel:
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = transformers.BertModel(transformers.BertConfig(vocab_size=len(vocabulary), **size)).eval()
    model.save_pretrained(folder)
    return model


def broken_by(code: str, **names: object) -> Callable[[], None]:
    return lambda: exec(compile(code.lstrip(), "broken.py", "exec"), globals() | names)


def main(out: Path) -> None:
    start = time.process_time()
    torch.set_num_threads(1)  # a fork has none of its parent's threads, and would wait for them for ever
    report._pictures = lambda *given: []
    home = Path(tempfile.mkdtemp())
    (home / "data").symlink_to(grammar_tasks(home / "grammar", n=400))
    rows = {name: [line.split("\t") for line in (home / "data" / f"{name}.txt").read_text().splitlines()]
            for name in ("bigram_shift", "past_present")}  # fmt: skip
    words = sorted({word for task in rows.values() for _, _, text in task for word in text.split()})
    with contextlib.chdir(home):
        transcript = Transcript(home)
        transcript.text(
            "# Output of runs with failing models and probes",
            "Made by `python scripts/trials/failing_models.py results/bad-inputs`, without the lines on the amount of work; the "
            "output of `explain` is cut to some fields.",
        )
        user_function(transcript, rows, words)
        hugging_face(transcript, words)
        failing_fits(transcript)
    out.mkdir(parents=True, exist_ok=True)
    (out / "failing-models.md").write_text("\n".join(transcript.lines).rstrip() + "\n", encoding="utf-8")
    children = os.times()
    seconds = round(time.process_time() - start + children.children_user + children.children_system)
    write_json(out / "failing-models.json", manifest(cpu_seconds=seconds, processor=processor()))


def user_function(transcript: Transcript, rows: dict, words: list[str]) -> None:
    """A function that lacks one word of one task."""
    others = {word for _, _, text in rows["past_present"] for word in (text.split()[0], text.split()[-2])}
    lacking = next(text.split()[-2] for _, _, text in rows["bigram_shift"] if text.split()[-2] not in others)
    Path("mine.py").write_text(USER_CODE.lstrip())
    probed = {word for text in SENTENCES for word in (text.split()[0], text.split()[-2])}
    table = {word: len(word) + i / 100 for i, word in enumerate(sorted(probed | set(words)))}
    write_table({word: value for word, value in table.items() if word != lacking})
    transcript.text("## A function of the user's that raises for some sentences of one task", "`mine.py`:")
    transcript.code("python", USER_CODE)
    transcript.text(f"Its `table.txt` lacks the word {lacking!r}, which past_present does not need: past_present goes on.")
    run = [
        "run",
        *SMALL,
        "encoder=python",
        "encoder.target=mine.py:encode",
        "pooling=sentence",
        "floors=majority",
        "run.name=function",
    ]
    transcript.command(*run)
    folder = Path("out/runs/function")
    status = transcript.command("status", str(folder))
    transcript.command("report", str(folder))
    transcript.tables(folder)
    key = re.search(r"failed (\w{20})", status)[1]
    transcript.command("explain", key, "--json", "--dir", "out", show=explained("status", "error", "rows"))
    write_table(table)
    transcript.text("The word is there now. The next run tries the failed cell again, and only that:")
    transcript.command(*run)
    transcript.command("status", str(folder))
    fields = ("status", "details.encoder.extracted_with", "details.versions", "details.processor")
    transcript.command("explain", key, "--json", "--dir", "out", show=explained(*fields))


def write_table(table: dict[str, float]) -> None:
    Path("table.txt").write_text("".join(f"{word}\t{value}\n" for word, value in table.items()))


def hugging_face(transcript: Transcript, words: list[str]) -> None:
    """Weights that give NaN, a model that fails on long sentences, one that fails on all."""
    model = save_bert(Path("tiny-bert"), words)
    run = ["run", *SMALL, "encoder=hf", "encoder.name=./tiny-bert", "floors=majority,random-weights", "run.name=bert"]
    for title, code in (
        ("A Hugging Face model that raises for sentences of more than 16 tokens", TOO_LONG),
        ("A Hugging Face model that raises for every sentence", NO_LAYERS),
    ):
        transcript.text(f"## {title}")
        transcript.code("python", code)
        transcript.command(*run, broken=broken_by(code))
        status = transcript.command("status", "out/runs/bert")
        transcript.tables(Path("out/runs/bert"))
        key = re.search(r"failed (\w{20})", status)[1]
        transcript.command("explain", key, "--json", "--dir", "out", show=explained("status", "error", "rows"))
    transcript.text("The same command with the model as it should be, and the same run:")
    transcript.command(*run)
    transcript.command("status", "out/runs/bert")
    transcript.text("## Weights that give NaN", "One number of the feed-forward part of the first block is NaN:")
    with torch.no_grad():
        model.encoder.layer[0].output.dense.bias[3] = float("nan")
    model.save_pretrained("nan-bert")
    for path in Path("tiny-bert").glob("tokenizer*"):
        Path("nan-bert", path.name).write_bytes(path.read_bytes())
    transcript.command(*(word.replace("tiny-bert", "nan-bert").replace("=bert", "=nan") for word in run))
    transcript.tables(Path("out/runs/nan"))


def failing_fits(transcript: Transcript) -> None:
    """A probe that fails: the first seed of the best layer, then that layer altogether."""
    run = ["run", *SMALL, "encoder=hf", "encoder.name=./tiny-bert", "floors=majority", "probe=senteval-linear"]
    run += ["probe.l2=[1e-4]", "probe.max_epoch=8", "seed=0,1"]
    transcript.text("## A probe that fails for some seeds and layers", "Without failures:")
    transcript.command(*run, "run.name=fits")
    folder = Path("out/runs/fits")
    transcript.tables(folder)
    table = pd.read_csv(folder / "table.csv").set_index("task")
    layer = int(table.layer["bigram_shift"])
    transcript.text(f"Layer {layer} is the best of BShift. Its probe fails, first for seed 0, then for both seeds:")
    transcript.code("python", FAILING_FIT)
    for failing in ({(layer, 0)}, {(layer, 0), (layer, 1)}):
        transcript.text(f"`FAILING = {failing}`:")
        transcript.command(*run, "run.name=fits", "run.force=true", broken=broken_by(FAILING_FIT, FAILING=failing))
        transcript.command("status", str(folder))
        transcript.tables(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
