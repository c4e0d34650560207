"""The command `probing` and its subcommands. Torch and Hydra are imported only by the commands that need them."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from probing import __version__
from probing.commands import atlas
from probing.commands.listing import KINDS
from probing.commands.listing import lines as lines_of_list
from probing.commands.results import newest
from probing.commands.store import commands as store
from probing.commands.words import complete, help_of
from probing.errors import ConfigError, DataError, ForeignError, ProbingError, did_you_mean
from probing.log import info
from probing.paths import OUT

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(store, name="store")
atlas.register(app)

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def main() -> None:
    """Entry point: `probing run KEY=VALUE …`; without a verb, words with `=` mean `run`."""
    words = sys.argv[1:]
    if words and (words[0] in ("-m", "--multirun") or "=" in words[0]):
        sys.argv.insert(1, "run")
    try:
        try:
            app(prog_name="probing")
        finally:
            sys.stdout.flush()  # now, when an error can still be caught
    except ProbingError as error:
        info(f"probing: {error}")
        sys.exit(1 if isinstance(error, ForeignError) else 2)
    except BrokenPipeError:  # who read the output has enough of it, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)  # as a program that the signal ends
    except OSError as error:
        info(f"probing: {error.filename or 'the machine'}: {error.strerror or error}")
        sys.exit(2)
    except Exception:
        from probing.provenance import own_fault

        traceback.print_exc()
        info(f"probing: {own_fault()}")
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"probing {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """What a text encoder knows, layer by layer."""


def _hydra_command(verb: str, about: str) -> None:
    """Register a command whose words are Hydra's."""

    def completed(ctx: typer.Context, incomplete: str) -> list[str]:
        return complete(verb, ctx.params.get("words") or [], incomplete)

    argument: Any = typer.Argument(None, autocompletion=completed, metavar="KEY=VALUE …")  # as a default: it is not a global name

    @app.command(verb, help=about, context_settings=PASS_ON, add_help_option=False)
    def command(words: list[str] | None = argument) -> None:
        if {"-h", "--help"} & set(words or ()):
            typer.echo(help_of(verb, about))
            return
        from probing.run import main as run_main

        raise typer.Exit(run_main(words or [], verb))


for _verb, _about in {
    "run": "Measure: tasks × layers × poolings of an encoder, with floors and controls. KEY=VALUE …, -m for a multirun.",
    "train": "Train a network: encoder=lstm|bilstm|cnn|gated-cnn|transformer, objective=sst2|cola|lm, data.root=…; -m for a "
    "multirun.",
    "check": "Conformance of an encoder: padding, order, determinism, words, fingerprint. encoder=…; exit code 1 if a rule fails.",
    "interact": 'Interactions of words in one sentence: encoder=… text="…" segment=3:6; B, B_max, B_min, T and the best '
    "partitions.",
    "attribute": 'How much each word speaks for a class: encoder=… text="…" method=shapley,ig,loo,lime masking=mask.',
    "score": 'Log-probabilities of a language model, token by token: encoder=checkpoint|hf|textgenrnn text="…" or file=a.txt.',
    "neuron": "What excites one unit: encoder=… layer=3 unit=17 file=a.txt; words at both ends with count and z, and sentences.",
}.items():
    _hydra_command(_verb, _about)


@app.command("list")
def list_(kind: Annotated[str | None, typer.Argument(help=" | ".join(KINDS), autocompletion=lambda: list(KINDS))] = None) -> None:
    """List tasks, encoders (with size and needs), probes, data, suites, experiments or objectives; alone: these kinds."""
    for line in lines_of_list(kind):
        typer.echo(line)


@app.command()
def status(runs: Annotated[list[Path] | None, typer.Argument(help="default: the newest in probing-out")] = None) -> None:
    """Done, failed and missing cells of a run; exit code 1 unless all are done."""
    from probing.commands.results import state_of

    open_ = 0
    for folder in runs or [newest(OUT)]:
        lines, own = state_of(folder)
        typer.echo("\n".join(lines))
        open_ += own
    if open_:
        typer.echo(f"{open_} open: run the same command again, finished cells are skipped")
        raise typer.Exit(1)


@app.command()
def report(
    runs: Annotated[list[Path] | None, typer.Argument(help="default: the newest in probing-out")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the tables; one run: its own folder")] = None,
    against: Annotated[str | None, typer.Option(help="published tables set beside these numbers: jawahar2019,conneau2018")] = None,
) -> None:
    """Tables of one or several runs: table.md, .csv, .tex, report.html, figures; or a comparison with a published table.

    Runs of a study (+experiment=…) make its report.
    """
    from probing import studies as job
    from probing.evaluation.runs import Run
    from probing.evaluation.table import merge
    from probing.report import published
    from probing.report.write import write

    runs = runs or [newest(OUT, ("run.json", "manifest.json"))]
    if all(job.is_run(folder.expanduser()) for folder in runs):
        if out is None or against is not None:
            raise ConfigError("runs of a study make one report: say where it goes with --out DIR (--against is for probing tables)")
        job.together([folder.expanduser() for folder in runs], out)
        info(f"{out}: one report of {len(runs)} runs")
        return
    recorded = [Run.read(folder) for folder in runs]
    if against is not None:
        typer.echo(published.compare(merge(run.table() for run in recorded), against))
        if out is None:
            return
    elif out is None and len(recorded) > 1:
        raise ConfigError("several runs make one table: say where it goes with --out DIR")
    folder = out or recorded[0].folder
    write(recorded, folder, against=against)
    info(f"wrote {', '.join(sorted(path.name for path in folder.iterdir() if path.is_file()))} in {folder}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="folders of two or more runs", metavar="RUN RUN …")],
    out: Annotated[Path | None, typer.Option(help="folder for compare.md and the exact numbers (.csv)")] = None,
) -> None:
    """Runs compared on the same test items: paired tests, differences in points with intervals, letters, ranks over tasks."""
    from probing.commands.results import comparison_of
    from probing.report import compared

    comparison = comparison_of(runs)
    typer.echo(compared.text_of(comparison))
    if out is not None:
        compared.write(comparison, out)
        info(f"{out}: compare.md, pairs.csv, tasks.csv, over_tasks.csv, ranks.csv")


@app.command()
def export(
    run: Path,
    to: Annotated[str, typer.Option(help="datasets | parquet | latex | eval-results | mteb | eee")],
    out: Annotated[Path | None, typer.Option(help="file or folder; default: in the run's folder")] = None,
) -> None:
    """Write a run for other programs: a data set, LaTeX layouts, model cards of Hugging Face, Every Eval Ever."""
    from probing.evaluation.runs import Run
    from probing.report.exports import export as work

    info(f"{work(Run.read(run), to, out)}")


@app.command()
def explain(
    cell: Annotated[str | None, typer.Argument(help="key of a cell, or its beginning; with --best: a run, or the newest")] = None,
    best: Annotated[str | None, typer.Option(help="a task: the number at its dev-best layer")] = None,
    encoder: Annotated[str | None, typer.Option(help="with --best: of this encoder alone")] = None,
    json: Annotated[bool, typer.Option("--json", help="all that is recorded, not a card of some lines")] = False,
    answer: Annotated[str | None, typer.Option(help="a test item (number or text): the training items that decide it")] = None,
    dir: Annotated[Path, typer.Option(help="the run.dir that holds the cell")] = OUT,
) -> None:
    """What made one number: data, encoder, probe, what was tried, seeds, versions, when; and the rows that show it."""
    from probing.commands import results

    if answer is not None and (json or best is not None):
        raise ConfigError("--answer goes with the key of a cell, without --best and --json")
    if best is not None:
        folder = newest(dir) if cell is None else Path(cell)
        typer.echo(results.explain_best(best, encoder, folder, json))
    elif cell is None or encoder is not None:
        raise ConfigError("explain what? Give the key of a cell (column `cell` of rows.csv) or --best TASK [--encoder NAME] [RUN]")
    else:
        typer.echo(results.explain(cell, dir, json, answer))


@app.command()
def embed(
    file: Annotated[Path, typer.Argument(help="one sentence a line, or a task file")],
    encoder: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="encoder=minilm encoder.device=cuda")] = None,
    layers: Annotated[str, typer.Option(help="all, or numbers: 0,6,12")] = "all",
    pooling: Annotated[str, typer.Option(help="cls, mean, max or last")] = "mean",
    to: Annotated[str, typer.Option(help="parquet")] = "parquet",
    out: Annotated[Path, typer.Option(help="the file to write")] = Path("vectors.parquet"),
    dir: Annotated[Path, typer.Option(help="the run.dir whose store keeps the vectors")] = OUT,
) -> None:
    """Vectors of every layer of an encoder for your sentences, as one file; an interrupted command goes on where it stopped."""
    from probing.store import embed as job
    from probing.store.vectors import Store

    job.embed(file, job.encoder_of(encoder or ()), Store(dir / "store"), out, layers=layers, pooling=pooling, to=to)


@app.command()
def fetch(
    what: Annotated[str, typer.Argument(help="senteval")],
    root: Annotated[Path, typer.Option(help="folder for the files")] = Path("data/senteval"),
) -> None:
    """Download data, pinned to a commit and verified by git blob id."""
    if what != "senteval":
        raise ConfigError(f"fetch what? {what!r} is unknown{did_you_mean(what, ['senteval'])} (allowed: senteval)")
    from probing.data.card import SENTEVAL, load_card
    from probing.data.readers.download import fetch as download

    download([load_card(name) for name in SENTEVAL], root)
    info(f"next: probing run data=senteval data.root={root} encoder=minilm")


@app.command("make-tasks")
def make_tasks_(
    source: Annotated[
        Path, typer.Option("--from", help="brackets (.mrg, .ptb), CoNLL-U, GUM's table, or plain sentences; a file or a folder")
    ],
    out: Annotated[Path, typer.Option(help="folder for the task files and their cards")],
    language: Annotated[str, typer.Option(help="language code: en, de, …")] = "en",
    split_file: Annotated[Path | None, typer.Option(help="official document split (GUM's splits.md)")] = None,
    tasks: Annotated[str | None, typer.Option(help="names, comma-separated; default: all that the source allows")] = None,
    min_per_split: Annotated[
        int, typer.Option(help="leave a task out where a class has fewer sentences in train, dev or test")
    ] = 30,
    seed: int = 0,
) -> None:
    """Make the ten tasks from parsed text, with a data card each; read them with data=senteval data.root=OUT."""
    from probing.data.builders import make_tasks, read_source

    corpus = read_source(source, split_file)
    wanted = tasks.split(",") if tasks else None
    made = make_tasks(
        corpus.sentences, out, source=corpus.name, source_sha256=corpus.sha256, language=language, seed=seed, tasks=wanted,
        min_per_split=min_per_split,
    )  # fmt: skip
    for name, card in made.items():
        typer.echo(f"{name:28} {card if isinstance(card, str) else card['n']}")
    if all(isinstance(card, str) for card in made.values()):
        raise DataError(f"no task was made of {source} (reasons above)")


@app.command("make-expressions")
def make_expressions(
    out: Annotated[Path, typer.Option(help="folder for the files")],
    families: Annotated[str | None, typer.Option(help="names, comma-separated; default: the three that are tasks")] = None,
    count: Annotated[int, typer.Option(help="distinct expressions of a family")] = 600,
    variables: Annotated[str, typer.Option(help="fewest-most variables")] = "5-10",
    inputs: Annotated[int, typer.Option(help="sentences of an expression, at most")] = 32,
    operators: Annotated[str | None, typer.Option(help='of one family, blanks between; "* + +" draws + twice as often')] = None,
    seed: int = 0,
) -> None:
    """Write families of expressions: a task of each of the first three (read by data=expressions), a list of any other."""
    from probing.data.expressions import BINDING, generate, write
    from probing.data.expressions.tasks import make_task

    least, dash, most = variables.partition("-")
    if not (least.isdigit() and dash and most.isdigit()):
        raise ConfigError(f"--variables {variables}: give fewest-most, such as 5-10")
    wide, chosen = (int(least), int(most)), None if operators is None else operators.split()
    for family in families.split(",") if families else BINDING:
        if family in BINDING:
            path = make_task(family, out, count, wide, inputs, chosen, seed)
        else:
            expressions = generate(family, count, wide, seed, chosen)
            path = out / f"{family}.expressions.tsv"
            out.mkdir(parents=True, exist_ok=True)
            write(path, expressions)
        typer.echo(path)
