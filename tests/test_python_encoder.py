"""One's own code as an encoder: each form gives the right vectors, through the command line too; mistakes are named; keys tell."""

import hashlib
import importlib
import os
import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import processes
import pytest
import torch
from toys import ToyEncoder

from probing import Store, load_encoder
from probing.encoders.base import Encoder, fingerprint
from probing.encoders.user.python import PythonEncoder
from probing.errors import EncoderError, StatesError
from probing.store.extraction import extract
from probing.types import Representation

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ["the cat runs .", "dogs", "a big dog sees the small cat", "it ran and they saw ."]
[HOWTO] = re.findall(r"```py\n(.*?)```", (ROOT / "docs" / "howto.md").read_text(), re.S)

BOW = '''
"""A bag of word vectors, as SentEval asks for it."""
import numpy as np

VECTORS = "glove.txt"

def prepare(params, samples):
    vocabulary = {word for sentence in samples for word in sentence}
    with open(params.vectors or VECTORS) as file:
        rows = (line.rstrip().split(" ") for line in file)
        params.word_vec = {row[0]: np.array(row[1:], float) for row in rows if row[0] in vocabulary}
    params.wvec_dim = 5

def batcher(params, batch):
    bags = [[params.word_vec[word] for word in sentence if word in params.word_vec] for sentence in batch]
    return np.vstack([np.mean(bag, 0) if bag else np.zeros(params.wvec_dim) for bag in bags])
'''

LSTM = """
import torch
from torch import nn
from probing import ModuleStates

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 6)
        self.drop = nn.Dropout(0.5)
        self.lstm = nn.LSTM(6, 4, num_layers=2, bidirectional=True, batch_first=True)
    def forward(self, ids):
        return self.lstm(self.drop(self.embedding(ids)))[0]

def tokenize(texts):
    return [[sum(map(ord, word)) % 50 for word in text.split()] for text in texts]

def make(layers=("embedding", "lstm")):
    torch.manual_seed(0)
    return ModuleStates(Net(), tokenize, layers)
"""


@pytest.fixture(autouse=True)
def own_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def write(tmp_path):
    """Writes a user's file, and gives a function from an attribute and options to the encoder of it."""

    def write(code, name="mine.py"):
        (tmp_path / name).write_text(textwrap.dedent(code), encoding="utf-8")
        return lambda attribute="make", **options: load_encoder("python", target=f"{tmp_path / name}:{attribute}", **options)

    return write


def vectors(encoder, texts=TEXTS):
    return extract(encoder, encoder.tokenize(texts)[0], encoder.poolings)


def hashed(word, width=3):
    return np.random.default_rng(int(hashlib.sha256(word.encode()).hexdigest()[:8], 16)).normal(size=width)


def probing(*words, cwd):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    return processes.run("-m", "probing", "run", *words, cwd=cwd, env=environment)


# Through the command line.


def test_the_readmes_file_runs_as_it_stands(toy_root, tmp_path):
    (tmp_path / "mine.py").write_text(HOWTO)
    assert len(HOWTO.splitlines()) <= 16
    words = ["encoder=python", "encoder.target=mine.py:make", "encoder.options={width:6}", "data=senteval", f"data.root={toy_root}"]
    done = probing(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mine.py:make[width=6]" in done.stderr and "no random-weights twin" in done.stderr
    table = next((tmp_path / "probing-out" / "runs").glob("*/table.md")).read_text()
    assert "mine.py:make[width=6], sentence" in table

    texts = [line.split("\t")[2] for path in toy_root.glob("*.txt") for line in path.read_text().splitlines()]
    encoder = load_encoder("python", target=f"{tmp_path / 'mine.py'}:make", options={"width": 6})
    assert encoder.layer_names == ("mean", "max")
    stored = Store(tmp_path / "probing-out" / "store")
    assert stored.estimate(encoder, texts, ["sentence"]).sentences == 0, "the command and Python share the vectors"
    rows = stored.vectors(encoder, texts, ["sentence"]).rows(texts)
    for layer, pooled in ((0, np.mean), (1, np.max)):
        expected = [pooled([hashed(word, 6) for word in text.split()], axis=0) for text in texts]
        np.testing.assert_allclose(rows.get(Representation(layer, "sentence")), expected, atol=1e-6)

    again = probing(*words, cwd=tmp_path)
    assert "nothing to do" in again.stderr, again.stderr


def test_a_file_in_sentevals_style_runs_unchanged(toy_root, tmp_path, monkeypatch):
    (tmp_path / "bow.py").write_text(BOW)
    glove = {f"w{i}": hashed(f"w{i}", 5) for i in range(35)}  # w35 to w39 have none
    lines = (f"{word} {' '.join(map(repr, row.tolist()))}\n" for word, row in glove.items())
    (tmp_path / "glove.txt").write_text("".join(lines))
    words = ["encoder=python", "encoder.target=bow.py", "data=senteval", f"data.root={toy_root}", "task=bigram_shift"]
    done = probing(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    texts = [line.split("\t")[2] for line in (toy_root / "bigram_shift.txt").read_text().splitlines()]
    monkeypatch.chdir(tmp_path)
    encoder = load_encoder("python", target="bow.py")
    stored = Store(tmp_path / "probing-out" / "store")
    assert stored.estimate(encoder, texts, ["sentence"]).sentences == 0
    expected = [np.mean([glove[w] for w in text.split() if w in glove] or [np.zeros(5)], axis=0) for text in texts]
    rows = stored.vectors(encoder, texts, ["sentence"]).rows(texts).get(Representation(0, "sentence"))
    np.testing.assert_allclose(rows, expected, atol=1e-6)

    again = probing(*words, cwd=tmp_path)
    assert "nothing to do" in again.stderr, again.stderr


EXAMPLE = """
import sys
import numpy as np
sys.path.insert(0, "..")
import senteval
import senteval.utils as u
from senteval import engine, utils
from senteval.tools.validation import SplitClassifier
def prepare(params, samples):
    return
def batcher(params, batch):
    return np.array([[len(words), len(" ".join(words))] for words in batch], float)
if __name__ == "__main__":
    senteval.engine.SE({"task_path": "data"}, batcher, prepare)
"""


@pytest.fixture
def script(tmp_path):
    """Writes a script in SentEval's style, and gives the encoder of it."""

    def script(code):
        (tmp_path / "mine.py").write_text(code)
        return load_encoder("python", target=str(tmp_path / "mine.py"))

    return script


def test_an_example_script_of_senteval_is_loaded_without_the_package(script):
    modules, finders = set(sys.modules), list(sys.meta_path)
    encoder = script(EXAMPLE)
    assert encoder.dims == (2,) and vectors(encoder, ["the cat ran"])[Representation(0, "sentence")].tolist() == [[3, 11]]
    encoder.release()
    assert vectors(encoder, ["a b"])[Representation(0, "sentence")].tolist() == [[2, 3]]
    assert not [name for name in set(sys.modules) - modules if name.startswith("senteval")] and sys.meta_path == finders
    assert encoder.description["sources"] == {"mine.py": hashlib.sha256(EXAMPLE.encode()).hexdigest()}
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("senteval")


def test_sentevals_own_package_is_taken_where_it_can_be_imported(script, tmp_path):
    (tmp_path / "senteval").mkdir()
    (tmp_path / "senteval" / "__init__.py").write_text("WIDTH = 3\n")
    code = "import senteval\nimport numpy as np\ndef batcher(params, batch):\n    return np.ones((len(batch), senteval.WIDTH))\n"
    encoder = script(code)
    assert encoder.dims == (3,) and set(encoder.description["sources"]) == {"mine.py", "senteval/__init__.py"}
    with pytest.raises(EncoderError, match="No module named 'senteval.tools'"):
        script(code.replace("import senteval\n", "import senteval.tools\n")).dims  # noqa: B018


@pytest.mark.parametrize(
    "use", ["senteval.engine.SE({}, 1, 2)", "class Own(senteval.engine.SE): pass", "list(senteval.TASKS)", "senteval.utils.x['a']"]
)
def test_a_script_that_uses_senteval_when_it_is_imported_is_refused_by_its_line(script, use):
    with pytest.raises(
        EncoderError, match=r"importing it failed:\n.*mine.py, line 15: ImportError: senteval.* is used, and SentEval"
    ):
        script(f"{EXAMPLE}{use}\n").dims  # noqa: B018


def test_a_script_that_uses_senteval_when_it_is_called_is_refused(script):
    with pytest.raises(EncoderError, match=r"mine.py, line 12: ImportError: senteval.utils.cosine is used"):
        script(EXAMPLE.replace("    return np.array", "    u.cosine(1, 2); return np.array")).dims  # noqa: B018


def test_mistakes_end_the_command_with_exit_code_2_and_two_lines(toy_root, tmp_path):
    """But an exception in the function is a failed cell, whenever it is raised."""
    (tmp_path / "mine.py").write_text("def fail(texts):\n    return texts[99]\ndef words(texts):\n    return 'no'\n")
    targets = "mine.py:fail,mine.py:words,mine.py:fial,nowhere.py:make,no.such.module:make"
    done = probing(
        "-m",
        "encoder=python",
        f"encoder.target={targets}",
        "data=senteval",
        f"data.root={toy_root}",
        "task=tree_depth",
        cwd=tmp_path,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    messages = [part.strip() for part in done.stderr.split("probing: ")[1:]]
    assert "failed: 1 cell(s) of tree_depth, mine.py:fail" in done.stderr and "mine.py, line 2: IndexError" in done.stderr
    expected = ["is a str", "did you mean 'fail'?", "no file", "No module named 'no'"]
    assert len(messages) == len(expected)
    for message, part in zip(messages, expected, strict=True):
        assert part in message and len(message.splitlines()) <= 2, message


# The forms.


def test_a_function_of_sentences_and_a_factory_of_one_are_alike(write):
    user = write("""
        import numpy as np
        def encode(texts, scale=1.0):
            return np.array([[len(text) * scale, text.count(" ")] for text in texts])
        def make(scale=1.0):
            return lambda texts: encode(texts, scale)
        class Encode:
            def __init__(self, scale=1.0):
                self.scale = scale
            def __call__(self, texts):
                return encode(texts, self.scale)
        ready = Encode()
        """)
    expected = np.array([[len(text), text.count(" ")] for text in TEXTS], np.float32)
    for name in ("encode", "make", "Encode", "ready"):
        encoder = user(name)
        assert isinstance(encoder, Encoder)
        assert (encoder.layer_names, encoder.dims, encoder.poolings) == (("output",), (2,), ("sentence",))
        np.testing.assert_array_equal(vectors(encoder)[Representation(0, "sentence")], expected)
        assert encoder.word_ids(TEXTS) == [[None]] * 4 and encoder.random_twin(0) is None
    for name in ("encode", "make", "Encode"):
        doubled = vectors(user(name, options={"scale": 2.0}))[Representation(0, "sentence")]
        np.testing.assert_array_equal(doubled[:, 0], 2 * expected[:, 0])


@pytest.mark.parametrize("text", ["", " ", "a  b", "\ttab and\u00a0such ", "ends "])
def test_the_code_sees_each_sentence_as_it_is(write, text):
    encoder = write("def encode(texts):\n    return [[float(len(text)), *map(ord, (text + '!!')[:2])] for text in texts]")("encode")
    columns = vectors(encoder, [text])[Representation(0, "sentence")]
    assert columns.tolist() == [[len(text), *map(ord, (text + "!!")[:2])]]


def test_token_states_are_pooled_and_aligned_where_there_is_one_a_word(write):
    user = write("""
        import torch
        def words(texts):
            rows = [torch.tensor([[float(len(word)), float(k)] for k, word in enumerate(text.split())]) for text in texts]
            return {"length": [row[:, :1] for row in rows], "both": rows}
        def letters(texts):
            return [[[float(ord(letter))] for letter in text] for text in texts]
        """)
    encoder = user("words")
    assert (encoder.layer_names, encoder.dims, encoder.poolings) == (("length", "both"), (1, 2), ("mean", "max", "last"))
    columns = vectors(encoder)
    for i, text in enumerate(TEXTS):
        rows = np.array([[len(word), k] for k, word in enumerate(text.split())], np.float32)
        for pooling, expected in (("mean", rows.mean(0)), ("max", rows.max(0)), ("last", rows[-1])):
            np.testing.assert_allclose(columns[Representation(1, pooling)][i], expected, atol=1e-6)
            np.testing.assert_allclose(columns[Representation(0, pooling)][i], expected[:1], atol=1e-6)
    assert encoder.word_ids(["the  cat ran", "a"]) == [[0, 1, 2], [0]]
    with pytest.raises(EncoderError, match="4 tokens for the 1 words of 'dogs': tokens cannot be aligned"):
        user("letters").word_ids(["dogs"])


def test_layers_of_a_module_are_what_each_sentence_gives_alone(write, monkeypatch):
    encoder = write(LSTM)()
    assert (encoder.layer_names, encoder.dims, encoder.poolings) == (("embedding", "lstm"), (6, 8), ("mean", "max", "last"))
    torch.manual_seed(0)
    space = {}
    exec(LSTM, space)
    net = space["make"]().module.eval()
    columns = vectors(encoder)
    for i, text in enumerate(TEXTS):
        with torch.no_grad():
            embedded = net.embedding(torch.tensor(space["tokenize"]([text])))
            states = net.lstm(embedded)[0][0].numpy()
        np.testing.assert_allclose(columns[Representation(0, "mean")][i], embedded[0].mean(0).numpy(), atol=1e-6)
        for pooling, expected in (("mean", states.mean(0)), ("max", states.max(0)), ("last", states[-1])):
            np.testing.assert_allclose(columns[Representation(1, pooling)][i], expected, atol=1e-6)
    assert encoder.word_ids(TEXTS[:1]) == [[0, 1, 2, 3]]


def test_a_modules_own_word_ids_are_taken(write):
    user = write(
        LSTM
        + """
def pieces():
    what = make()
    what.tokenize = lambda texts: [[ord(letter) % 50 for letter in text if letter != " "] for text in texts]
    return what
def aligned():
    what = pieces()
    what.word_ids = lambda texts: [[k for k, word in enumerate(text.split()) for _ in word] for text in texts]
    return what
"""
    )
    with pytest.raises(EncoderError, match="5 tokens for the 2 words of 'a cats'"):
        user("pieces").word_ids(["a cats"])
    assert user("aligned").word_ids(["a cats"]) == [[0, 1, 1, 1, 1]]


def test_the_random_twin_of_a_module_is_drawn_by_reset_parameters(write, capsys):
    user = write(
        LSTM
        + """
class Scaled(Net):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))
def scaled():
    return ModuleStates(Scaled(), tokenize, ["lstm"])
def uncopied():
    what = make()
    what.module.held = what.module.embedding.weight * 2
    return what
"""
    )
    encoder = user()
    assert encoder.dims == (6, 8)  # loaded: the file itself seeds the global generator
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    twins = [encoder.random_twin(seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(3), expected)
    first, again, other = (vectors(twin)[Representation(1, "mean")] for twin in twins)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert np.abs(first - vectors(encoder)[Representation(1, "mean")]).max() > 1e-3, (
        "although that one was drawn with seed 0 as well"
    )
    assert len({fingerprint(e) for e in (encoder, *twins)}) == 3
    assert twins[0].name == "mine.py:make (random 0)"
    assert user("scaled").random_twin(0) is None
    assert "no reset_parameters draws scale" in capsys.readouterr().err
    assert user("uncopied").random_twin(0) is None
    assert "drawing its parameters failed" in capsys.readouterr().err


def test_a_whole_encoder_is_used_as_it_is(write):
    user = write(f"""
        import sys
        sys.path.insert(0, {str(ROOT / "tests")!r})
        from toys import ToyEncoder
        def make(width=5):
            return ToyEncoder(width=width)
        ready = ToyEncoder()
        """)
    encoder, toy = user(options={"width": 7}), ToyEncoder(width=7)
    for column, expected in vectors(toy).items():
        np.testing.assert_array_equal(vectors(encoder)[column], expected)
    assert encoder.poolings == toy.poolings and encoder.word_ids(TEXTS) == toy.word_ids(TEXTS)
    twin = vectors(encoder.random_twin(1))[Representation(2, "cls")]
    np.testing.assert_array_equal(twin, vectors(toy.random_twin(1))[Representation(2, "cls")])
    assert fingerprint(user("ready")) != fingerprint(user())


def test_an_encoder_that_lacks_a_member_or_gives_something_else_is_named(write):
    user = write(f"""
        import sys
        sys.path.insert(0, {str(ROOT / "tests")!r})
        from toys import ToyEncoder
        class Lacking:
            tokenize, forward, release, random_twin = ToyEncoder.tokenize, ToyEncoder.forward, None, None
            name, layer_names, dims, poolings, description, origin = "x", ("a",), (2,), ("mean",), {{}}, "here"
        class Narrow(ToyEncoder):
            dims = (3, 3, 3)
        class Bare(ToyEncoder):
            def forward(self, items):
                return super().forward(items).layers
        class Unsaid(ToyEncoder):
            description = {{"weights": object()}}
        """)
    for name, message in (
        ("Lacking", r"gives a Lacking, an Encoder but for word_ids;\nallowed: "),
        ("Narrow", r"forward gave layers of the shapes \[\(1, 4, 12\), .* expected \[\(1, 4, 3\)"),
        ("Bare", r"forward gave a list, expected probing.encoders.base.States"),
        ("Unsaid", r"its layers failed:\nTypeError: Object of type object is not JSON serializable"),
    ):
        with pytest.raises(EncoderError, match=message):
            _ = user(name).description


def test_sentevals_prepare_sees_every_sentence_of_a_request_and_a_batch_keeps_its_size(write):
    user = write("""
        import numpy as np
        log = []
        def prepare(params, samples):
            log.append(len(samples))
            params.known = {word for sample in samples for word in sample}
            assert params.seed == 1111 and params.nothing is None and params.classifier["nhid"] == 0
        def batcher(params, batch):
            assert len(batch) <= params.batch_size == 3
            return np.array([[len(s), sum(word in params.known for word in s), params.extra] for s in batch])
        """)
    encoder = user("", batch_size=3, options={"extra": 7})
    texts = [f"a{i} b" for i in range(20)]
    columns = vectors(encoder, texts)[Representation(0, "sentence")]
    assert columns.tolist() == [[2, 2, 7]] * 20
    assert encoder._adapter.batcher.__globals__["log"] == [1, 7, 27], "one fixed sentence, all of them, and the request"


# What the key tells.


def test_the_key_changes_with_the_file_its_neighbours_and_options_and_not_with_its_place(write, tmp_path):
    code = "from weights import SCALE\ndef make(width=2):\n    return lambda texts: [[SCALE] * width for _ in texts]\n"

    def key(scale, code, folder="one", **options):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "weights.py").write_text(f"SCALE = {scale}.0\n")
        user = write(code, f"{folder}/mine.py")
        encoder = user(**options)
        assert vectors(encoder)[Representation(0, "sentence")][0][0] == scale
        return fingerprint(encoder)

    first = key(1, code)
    assert key(1, code) == first == key(1, code, label="other") == key(1, code, folder="two") == key(1, code, batch_size=2)
    with pytest.raises(EncoderError):
        key(9, code + "raise ValueError", folder="three")  # its neighbour has the name of the others' and must not stay
    others = [key(2, code), key(1, code + "# a comment"), key(1, code, options={"width": 3}), key(3, code, folder="two")]
    assert len({first, *others}) == 5, "a file of the same size, edited within the same second, is not mistaken either"


def test_the_key_changes_with_what_the_code_holds_and_with_its_behaviour(write, tmp_path):
    user = write(f"""
        import numpy as np, torch
        kept = {{"a": [np.loadtxt({str(tmp_path / "inside.txt")!r})]}}
        def features(texts):
            return np.array([[len(text), 1.0] for text in texts])
        @torch.no_grad()
        def encode(texts):
            return features(texts) + 0 * kept["a"][0]
        def read(texts):
            return np.loadtxt({str(tmp_path / "outside.txt")!r}) * features(texts)
        """)

    def key(name, inside=0.0, outside=1.0):
        (tmp_path / "inside.txt").write_text(str(inside))
        (tmp_path / "outside.txt").write_text(str(outside))
        return fingerprint(user(name))

    first = key("encode")
    assert key("encode") == first == key("encode", outside=2.0)
    assert key("encode", inside=1.0) != first, "an array in a list in a dict of the file's, although no vector shows it"
    assert key("read") == key("read") != key("read", outside=1.01), "numbers that are read when it is called"


def test_a_weight_below_the_digits_of_the_behaviour_changes_the_key(write):
    user = write(
        LSTM
        + """
def moved(by=0.0):
    what = make()
    with torch.no_grad():
        what.module.embedding.weight[49, 0] += by
    return what
"""
    )
    encoders = [user("moved", options={"by": by}) for by in (0.0, 1e-6)]
    marks = [encoder.description["arrays"] for encoder in encoders]
    assert marks[0] != marks[1] and len({fingerprint(e) for e in encoders}) == 2
    assert encoders[0].description["behaviour"] == encoders[1].description["behaviour"]


def test_a_version_of_the_users_counts(write):
    keys = {fingerprint(write(f"def encode(texts):\n    return [[1.0]] * len(texts)\n{more}\n")("encode")) for more in
            ("version = 1", "version = 2")}  # fmt: skip
    assert len(keys) == 2
    assert write("version = 3\nencode = lambda texts: [[1.0]] * len(texts)")("encode").description["declared"] == 3


def test_released_and_loaded_again_it_must_be_the_same(write, tmp_path):
    encoder = write(LSTM)()
    before = vectors(encoder)
    encoder.release()
    assert encoder.dims == (6, 8) and "_adapter" not in vars(encoder), "known without loading it again"
    np.testing.assert_array_equal(vectors(encoder)[Representation(1, "max")], before[Representation(1, "max")])
    encoder.release()
    write(LSTM + "# edited")
    with pytest.raises(EncoderError, match="loaded again, it gives other vectors or is other code"):
        vectors(encoder)
    unseeded = write(LSTM.replace("torch.manual_seed(0)", "torch.seed()"), "unseeded.py")()
    _ = unseeded.description
    unseeded.release()
    with pytest.raises(EncoderError, match="seed what it draws at random"):
        vectors(unseeded)


# Mistakes.


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def make(texts)\n    pass", r"importing it failed:\n.*mine.py, line 1: SyntaxError"),
        ("import torchh\nmake = 1", r"mine.py, line 1: ModuleNotFoundError: No module named 'torchh'"),
        ("raise SystemExit(3)", r"mine.py, line 1: SystemExit: 3"),
        ("make = 3", r"gives a int;\nallowed: a function texts -> vectors, ModuleStates, an Encoder"),
        ("def mkae(): pass", r"has no 'make'; did you mean 'mkae'\?"),
        ("def make(a, b): pass", r"make\(a, b\) can be called neither with the options {} nor with sentences"),
        ("def make():\n    return {}['x']", r"making the encoder failed:\n.*mine.py, line 2: KeyError: 'x'"),
        ("def make(texts):\n    return [\n        1 / 0]", r"calling it with 1 sentence\(s\) failed:\n.*line 3: ZeroDivisionError"),
        ("def make(texts):\n    return None", r"'output' is a NoneType for 1 sentence\(s\);\nexpected, for n sentences: an array"),
        ("def make(texts):\n    return {}", r"a dict with the keys \[\]"),
        ("def make(texts):\n    return [[1.0]]", r"a list of 1 arrays of the shapes \(1,\) for 7 sentence"),
        ("def make(texts):\n    return np.ones(len(texts))", r"is an array of the shape \(1,\) for 1 sentence"),
        ("def make(texts):\n    return np.ones((len(texts), 2, 3))", r"is an array of the shape \(1, 2, 3\) for 1 sentence"),
        ("def make(texts):\n    return [['a'] for _ in texts]", r"holds list of <U1, not numbers"),
        ("def make(texts):\n    return [[float('nan')] for _ in texts]", r"'output' is not finite .* for 'Dogs ran .'"),
        ("def make(texts):\n    return [np.ones(len(t)) for t in texts]", r"different widths"),
        ("def make(texts):\n    return [np.ones((0, 2)) for t in texts]", r"has 0 token states for 'Dogs ran .', expected some"),
        (
            "def make(texts):\n    return {'a': np.ones((len(texts), len(texts)))}",
            r"gave the layers {'a': 1} for one batch and {'a': 7}",
        ),
        (
            "def make(texts):\n    return {'a': np.ones((len(texts), 2)), 'b': [np.ones((3, 2)) for _ in texts]}",
            r"vectors of sentences in one place and states of tokens in another",
        ),
        (
            "def make(texts):\n    return {'a': [np.ones((3, 2)) for _ in texts], 'b': [np.ones((4, 2)) for _ in texts]}",
            r"'b' has 4 token states for 'Dogs ran .', expected 3",
        ),
        (
            "def make(texts):\n    n = max(map(len, texts))\n    return [[len(t) / n] for t in texts]",
            r"'Dogs ran .' has other vectors alone than in a batch .*\nmend it; .*encoder.batch_size=1",
        ),
        (
            "def make(texts):\n    return [[len(t), ord(t[0])] for t in sorted(texts, key=len)]",
            r"'Dogs ran .' has other vectors alone than in a batch .*another order",
        ),
        ("import torch\nmake = torch.nn.Linear(2, 2)", r"gives a bare torch.nn.Module; give ModuleStates"),
    ],
)
def test_a_mistake_is_named(write, code, message):
    with pytest.raises(EncoderError, match=message) as caught:
        vectors(write("import numpy as np\n" + code if "np." in code else code)())
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('("embedding", "lstm")', '("embeding",)', r"'embeding'; did you mean 'embedding'\? \(there are: embedding, drop, lstm"),
        (
            "tokenize, layers",
            "tokenize, 'lstm'",
            r"ModuleStates takes a torch.nn.Module, a function texts -> token ids, and a list",
        ),
        ("batch_first=True", "batch_first=False", r"'Dogs ran .' has other vectors alone than in a batch"),
        ("self.lstm(self.drop(self.embedding(ids)))[0]", "self.embedding(ids)", r"layer 'lstm' was called 0 times in one pass"),
        (
            "(ids)))",
            "(ids)).transpose(0, 1))",
            r"'lstm' is \(3, 1, 8\), expected \(batch, tokens, d\) = \(1, 3, 'd'\); set batch_first",
        ),
        ("(ids)))", "(ids * 99)))", r"the module, on token ids of shape \(1, 3\) failed:\n.*mine.py, line 13: IndexError"),
        ("in texts]", "in texts[1:]]", r"tokenize gave 0 lists of token ids for 1 sentence"),
    ],
)
def test_a_module_that_does_not_fit_is_named(write, old, new, message):
    assert old in LSTM
    with pytest.raises(EncoderError, match=message):
        vectors(write(LSTM.replace(old, new))())


def test_what_depends_on_the_company_is_taken_one_by_one(write):
    code = "def encode(texts):\n    n = max(map(len, texts))\n    return [[len(t) / n] for t in texts]"
    encoder = write(code)("encode", batch_size=1)
    assert vectors(encoder)[Representation(0, "sentence")].tolist() == [[1.0]] * 4


def test_a_prepare_that_counts_is_refused(write):
    user = write("""
        def prepare(params, samples):
            params.n = len(samples)
        def batcher(params, batch):
            return [[len(s) / params.n] for s in batch]
        """)
    with pytest.raises(EncoderError, match="a prepare that counts"):
        _ = user("").description
    with pytest.raises(EncoderError, match="a prepare that counts"):
        _ = user("", batch_size=1).description


def test_a_sentence_that_is_not_finite_later_is_named(write):
    encoder = write("def encode(texts):\n    return [[float('inf') if t == 'dogs' else 1.0] for t in texts]")("encode")
    with pytest.raises(StatesError, match="not finite .* for 'dogs'"):
        vectors(encoder)


@pytest.mark.parametrize(
    ("attribute", "options", "message"),
    [
        (":encode", {"batch_size": 0}, "at least 1"),
        (":encode", {"options": {"a": {1, 2}}}, "must hold plain values"),
        (":encode", {"options": {"a": 1}}, r"encode\(texts\) can be called neither with the options {'a': 1} nor"),
        (":encode", {"init_seed": 1}, "there are no weights to draw"),
        (":ready", {"options": {"a": 1}}, "is a ModuleStates, which takes no encoder.options"),
        ("", {}, r"it has no function `batcher`; name what to use: .*mine.py:NAME"),
    ],
)
def test_bad_options_are_named(tmp_path, attribute, options, message):
    (tmp_path / "mine.py").write_text(LSTM + "ready = make()\ndef encode(texts):\n    return [[1.0]] * len(texts)")
    with pytest.raises(EncoderError, match=message):
        _ = PythonEncoder(f"{tmp_path / 'mine.py'}{attribute}", **options).description


def test_a_module_target_is_imported_from_the_current_folder(tmp_path, monkeypatch):
    files = {
        "pack/__init__.py": "",
        "pack/code.py": "from .near import K\nfrom other import *\nclass space:\n    encode = lambda texts: [[K + L]] * len(texts)",
        "pack/near.py": "import pack.far\nK = 2\n",
        "pack/far.py": "def later():\n    import unused\n",
        "other.py": "L = 0.5\n",
        "unused.py": "",
    }
    (tmp_path / "pack").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    encoder = load_encoder("python", target="pack.code:space.encode")
    assert vectors(encoder)[Representation(0, "sentence")].tolist() == [[2.5]] * 4
    assert encoder.name == "pack.code:space.encode"
    assert set(encoder.description["sources"]) == set(files) - {"unused.py"}
