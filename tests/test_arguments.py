"""Words of the command line: what Hydra's grammar refuses is answered with the word to type, and that word is tried in bash."""

import shlex
import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from probing.config import to_type
from probing.run import _as_text, _plain


def parsed(word):
    return OverridesParser.create().parse_overrides([word])[0]


VALUES = [
    "epoch=3-step=100", "my folder", " my folder ", "my[1]", "[x]", "f(x)", "(x)", "{a: 1}", "a,b", "it's", 'the "best"', "'", '"',
    "a\\", "a\\'b", '\\"', "\\\\", "C:\\x\\", "a: b", "~/x", "$x", "$HOME/x", "${x}", "\\${x}", "\\\\${x}'", "$(ls)", "`ls`",
    "modèle", "東京", "#1", "a&b;c|d>e", "!x", "null", "1e5", "007", "true", "*", "?", "a\tb", "a\nb", "-x", "",
]  # fmt: skip


def read(word):
    """The value that the configuration has after this word."""
    override = parsed(word)
    assert not override.is_sweep_override()
    config = OmegaConf.create({"value": override.value()})
    return OmegaConf.to_container(config, resolve=True)["value"]


def in_bash(typed):
    """The words that a program gets when these are typed."""
    done = subprocess.run(["bash", "-c", "printf '%s\\0' " + " ".join(typed)], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def test_the_word_to_type_gives_the_value_in_bash_and_hydra():
    words = in_bash(to_type(f"encoder.name={value}", False) for value in VALUES)
    assert [read(word) for word in words] == VALUES


@settings(deadline=None, max_examples=100)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.text("\\'\"${}=, []~", max_size=8)
)
@example("\\\\\\${'\\${\"")
def test_any_text_survives_its_quotes(value):
    assert read(_as_text(f"text={value}")) == value
    [word] = shlex.split(to_type(f"encoder.name={value}", False))
    assert read(word) == value


@pytest.mark.parametrize("value", VALUES)
def test_a_word_that_hydra_refuses_is_answered_with_the_wordto_type(value):
    word = f"encoder.name={value}"
    try:
        parsed(word)
    except HydraException as error:
        message = _plain(error, ["encoder=hf", word], "run")
        assert message.startswith("encoder.name: ") and message.endswith(f"type {to_type(word, False)}")


def test_a_word_in_a_sweep_keeps_its_commas():
    word = "encoder.name=runs/epoch=1,runs/epoch=2,bert"
    with pytest.raises(HydraException) as refused:
        parsed(word)
    message = _plain(refused.value, ["-m", word], "run")
    assert message.endswith("""type 'encoder.name="runs/epoch=1","runs/epoch=2",bert'""")
    [typed] = in_bash([message.rpartition("type ")[2]])
    assert list(parsed(typed).sweep_string_iterator()) == ['"runs/epoch=1"', '"runs/epoch=2"', "bert"]


@pytest.mark.parametrize("word", ["encoder", "en coder=x", "-x", "é=1"])
def test_a_word_that_is_no_key_and_value_is_named(word):
    with pytest.raises(HydraException) as refused:
        parsed(word)
    assert _plain(refused.value, [word], "run").startswith(f"{word!r} is not KEY=VALUE")
