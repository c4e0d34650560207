"""`probing store`: what is in a store, whether it is whole, and how an encoder goes out of it."""

from __future__ import annotations

from pathlib import Path

import typer

from probing.errors import StoreError
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


def _there(root: Path) -> Path:
    if not root.is_dir():
        raise StoreError(f"{root} is no folder of a store (default: {OUT}/store; name another with --root)")
    return root
