"""`probing store`: what is in a store, whether it is whole, fewer files, and how an encoder goes out of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from probing.errors import ConfigError, StoreError
from probing.log import human_bytes
from probing.paths import OUT

commands = typer.Typer(help="The representation store.", no_args_is_help=True)


@commands.command("list")
def store_list(root: Path = OUT / "store") -> None:
    """Encoders in the store: poolings, dtype, sentences, shards done and planned, bytes, and what float16 cost at worst."""
    from probing.store.upkeep import cost
    from probing.store.vectors import Store

    for entry in Store(_there(root)).entries():
        typer.echo(
            f"{entry['fingerprint']}  {entry['encoder']:24} {entry['poolings']:20} {entry['sentences']:9} sentences  "
            f"{entry['done']}/{entry['shards']} shards  {human_bytes(entry['bytes'])}  {entry['dtype']}{cost(entry)}"
        )


@commands.command("verify")
def store_verify(root: Path = OUT / "store") -> None:
    """Check every file against its hash; exit code 1 if one is damaged."""
    from probing.store.vectors import Store

    intact, damaged = Store(_there(root)).verify()
    typer.echo(f"{intact} shards intact, {len(damaged)} damaged")
    for path in damaged:
        typer.echo(f"  {path} (made again by the next run that needs it)")
    if damaged:
        raise typer.Exit(1)


@commands.command("prune")
def store_prune(fingerprints: list[str], root: Path = OUT / "store") -> None:
    """Delete encoders from the store by fingerprint (or its beginning); cells and tables stay."""
    from probing.store.vectors import Store

    typer.echo(f"freed {human_bytes(Store(_there(root)).prune(fingerprints))}")


@commands.command("compact")
def store_compact(root: Path = OUT / "store") -> None:
    """Fewer files: join what several requests of an encoder wrote, remove locks and what killed runs left. The vectors stay."""
    from probing.store.compaction import compact

    done = compact(_there(root))
    files, sizes = done.files, [human_bytes(n) for n in done.bytes]
    typer.echo(f"{files[0]} files, {sizes[0]}; now {files[1]} files, {sizes[1]}")
    for name in done.in_use:
        typer.echo(f"  {name} left as it is: a running process uses it")


@commands.command("evict")
def store_evict(
    days: Annotated[float | None, typer.Option(help="encoders that were not asked for since so many days")] = None,
    size: Annotated[str | None, typer.Option(help="what the store may hold afterwards, such as 50GB")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="delete them; without it they are only listed")] = False,
    root: Path = OUT / "store",
) -> None:
    """Delete the encoders used longest ago, by age, size or both; never those that a running process uses. Cells stay."""
    from probing.store.compaction import evict

    candidates = evict(_there(root), days, None if size is None else bytes_of(size), dry=not yes)
    for one in candidates:
        left = "  left: a running process uses it" if one.in_use else ""
        typer.echo(f"{one.home.name}  {one.name:24} {human_bytes(one.bytes):>9}  last used {one.days:.1f} days ago{left}")
    going = [one for one in candidates if not one.in_use]
    freed = human_bytes(sum(one.bytes for one in going))
    typer.echo(f"freed {freed}" if yes else f"{len(going)} encoders, {freed}; nothing was deleted, --yes deletes them")


def bytes_of(text: str) -> int:
    """A size such as 50GB (powers of 1000), in bytes; ConfigError for another text.

    >>> bytes_of("1.5 MB")
    1500000
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(B|kB|MB|GB|TB)?", text.strip())
    if match is None:
        raise ConfigError(f"--size {text}: give a number and B, kB, MB, GB or TB, such as 50GB")
    return int(float(match[1]) * 1000 ** ("B", "kB", "MB", "GB", "TB").index(match[2] or "B"))


def _there(root: Path) -> Path:
    if not root.is_dir():
        raise StoreError(f"{root} is no folder of a store (default: {OUT}/store; name another with --root)")
    return root
