"""stepguard inspect: what a model directory holds, and whether it is still what was exported."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from rich.table import Table

from stepguard.cli.show import add_json, console, formatted, grid, plain, print_json
from stepguard.integrity import verify
from stepguard.manifest import Manifest, load
from stepguard.prompt import Prompt
from stepguard.prompt.pieces import Piece

_DESCRIPTION = """\
Shows the manifest of a model directory, its prompt, label tokens and licence, and hashes every
file again, also those that a load would know from before.

  stepguard inspect OUT
  stepguard inspect OUT --json | python -m json.tool
"""
_EPILOG = """\
exit status: 0 when every file is the one that the manifest describes, else 1

keys of --json: path, sha256 (of the model), bytes (of all files), verified (true), manifest (as it
stands in manifest.json)
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "inspect",
        help="see what a model directory holds",
        epilog=_EPILOG,
        **formatted(_DESCRIPTION),
    )
    parser.add_argument("model", metavar="OUT", help="a model directory")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Hashes the files and prints what they are."""
    manifest = load(arguments.model)
    prompt = Prompt.from_manifest(manifest.prompt)
    verify(arguments.model, manifest).close()
    size = sum(entry.bytes for entry in manifest.files.values())
    if arguments.json:
        facts = {"path": arguments.model, "sha256": manifest.sha256, "bytes": size}
        print_json({**facts, "verified": True, "manifest": manifest.to_dict()})
        return 0
    out = console()
    table = grid()
    for name, value in _model(manifest).items():
        table.add_row(name, plain(value))
    out.print(table)
    out.print()
    out.print(_files(manifest))
    out.print()
    table = grid()
    for name, value in _prompt(prompt).items():
        table.add_row(name, plain(value))
    out.print(table)
    return 0


def _model(manifest: Manifest) -> dict[str, str]:
    shape, stored, origin = manifest.architecture, manifest.quantisation, manifest.origin
    linear = ", ".join(f"{count} {form}" for form, count in sorted(stored.linear.items()))
    head = f"{shape.heads} heads, {shape.kv_heads} of keys and values, {shape.head_dim} wide"
    adapter = "" if origin.adapter is None else f", with adapter {origin.adapter.source}"
    return {
        "model": manifest.sha256,
        "architecture": f"{shape.name}: {shape.layers} layers of {shape.hidden}, {head}",
        "vocabulary": f"{shape.vocabulary} rows, {'tied' if shape.tied else 'own output matrix'}",
        "context": f"{shape.context} tokens",
        "matrices": f"{linear} (asked for: {stored.requested}); table {stored.table}",
        "KV pages": stored.kv,
        "licence": f"{manifest.licence.name} {_list(manifest.licence.files)}",
        "origin": f"{origin.kind} {origin.source}, revision {origin.revision}{adapter}",
        "calibrated": _list(manifest.calibration) or "no",
        "made by": f"stepguard {manifest.stepguard_version}, format {manifest.format_version}",
    }


def _files(manifest: Manifest) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("file")
    table.add_column("bytes", justify="right")
    table.add_column("sha256, as it should be", overflow="fold")
    for name, entry in sorted(manifest.files.items()):
        table.add_row(plain(name), str(entry.bytes), entry.sha256)
    return table


def _prompt(prompt: Prompt) -> dict[str, str]:
    kind = "official" if prompt.official else "not an official one"
    labels = {
        f"label {name}": ", ".join(
            f"{spelling.text!r} {'-'.join(map(str, spelling.path))}" for spelling in spellings
        )
        for name, spellings in prompt.labels.items()
    }
    return {
        "prompt": f"{prompt.name} ({kind}), {prompt.sha256}",
        "mode": prompt.mode,
        "prefix": _pieces(prompt.prefix),
        "question": _pieces(prompt.question),
        **labels,
        "rows read": _list(map(str, prompt.row_ids)),
    }


def _pieces(pieces: Iterable[Piece]) -> str:
    """The text; what goes in as token ids has them behind it, in braces."""
    return "".join(
        f"{piece.text}{{{_list(map(str, piece.ids))}}}" if piece.ids else piece.text
        for piece in pieces
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
