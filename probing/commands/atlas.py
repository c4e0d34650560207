"""`probing atlas`: the study of that name, its options as short keys, several encoders side by side, the page in a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from probing import config
from probing.errors import ConfigError, did_you_mean
from probing.files import os_errors_as_store_error
from probing.log import info

SHORT = ("size", "treebank", "corpora", "classifier", "columns")
"""Keys of the study that stand without `study.`."""

READ = ("data", "encoder", "task", "seed", "log", "study", "studies", "run")
"""Keys of a run that an atlas reads."""

OF_GRAMMAR = ["~data.n", "~data.sizes"]
"""Takes back what the experiment sets for the built-in grammar, which other data has no options for."""


def arguments(words: Sequence[str]) -> list[str]:
    """The words of `probing run`; encoders with a comma between them are a sweep.

    >>> arguments(["encoder=lstm,cnn", "columns=encoded,used", "dry=true"])
    ['-m', '+experiment=atlas', 'encoder=lstm,cnn', 'study.columns=[encoded,used]', 'run.dry=true']
    """
    made, sweep = ["+experiment=atlas"], False
    for word in words:
        key, equals, value = word.partition("=")
        known = not equals or key in (*SHORT, *config.KEYS, "dry", "suite") or not key.isalpha()
        if not known and (near := did_you_mean(key, SHORT)):
            raise ConfigError(f"unknown key {key!r}{near} (of an atlas: {', '.join(SHORT)})")
        if equals and key.partition(".")[0] in set(config.KEYS).difference(READ):
            raise ConfigError(
                f"{word} has no effect: an atlas measures every layer against floors and controls of its own (of an atlas: "
                f"{', '.join(SHORT)}, dry; study.probe names the protocol)"
            )
        sweep |= key.startswith("encoder") and "," in value and value[:1] not in "['\""
        if key == "columns" and "," in value and value[:1] not in "['\"":
            word = f"{key}=[{value}]"  # a list, not a sweep
        made += OF_GRAMMAR if key == "data" and value != "grammar" else []
        made.append(f"study.{word}" if equals and key in SHORT else f"run.{word}" if equals and key == "dry" else word)
    return ["-m"] * sweep + made


def atlas(
    words: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE …")] = None,
    out: Annotated[Path | None, typer.Option(help="a folder for the page and its tables, of all encoders together")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on where a killed atlas stopped, as the same command always does")
    ] = False,
) -> None:
    """One page for a model: encoder=minilm size=quick|full treebank=DIR corpora={NAME: DIR} dry=true; encoder=A,B: side by side."""
    from probing import run

    if out is not None:
        free(out)
    code = run.main(arguments(words or []))
    if out is not None and run.folders and code != 130:  # interrupted
        from probing import studies

        with os_errors_as_store_error(out):
            studies.together(list(dict.fromkeys(run.folders)), out)
        beside = sorted(path.name for path in out.iterdir() if path.name != "atlas.html")
        info(f"{out}: open atlas.html; beside it {', '.join(beside)}")
        for job in run.lost:
            own = ", ".join(word for word in job if word.startswith("encoder"))
            info(f"{out}: without {own}, which could not be measured (why stands above)")
    raise typer.Exit(code)


def free(out: Path) -> None:
    """ConfigError for a name of which no folder can be made, before anything is measured; makes none."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"--out {out}: {there} is a file; name a folder, which need not exist")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"--out {out}: {there} cannot be written; name another folder")


def register(app: typer.Typer) -> None:
    """Adds the command; its words may be unknown to typer."""
    settings: dict[str, Any] = {"ignore_unknown_options": True}
    app.command("atlas", context_settings=settings)(atlas)
