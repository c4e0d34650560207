"""`probing atlas`: the study of that name, its options as short keys, several encoders side by side, the page in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from probing.log import info

SHORT = ("size", "treebank", "corpora", "classifier", "columns")
"""Keys of the study that stand without `study.`."""

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

    code = run.main(arguments(words or []))
    if out is not None and run.folders and not code:
        from probing import studies

        studies.together(list(dict.fromkeys(run.folders)), out)
        beside = sorted(path.name for path in out.iterdir() if path.name != "atlas.html")
        info(f"{out}: open atlas.html; beside it {', '.join(beside)}")
    raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    """Adds the command; its words may be unknown to typer."""
    settings: dict[str, Any] = {"ignore_unknown_options": True}
    app.command("atlas", context_settings=settings)(atlas)
