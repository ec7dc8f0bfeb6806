"""stepguard inspect: what a model directory holds, and whether it is still what was exported."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from rich.table import Table

from stepguard.cli.load import add_model
from stepguard.cli.show import add_json, console, formatted, grid, plain, plain_lines, print_json
from stepguard.integrity import verify
from stepguard.manifest import Manifest, load
from stepguard.prompt import Mode, Prompt
from stepguard.prompt.pieces import Piece
from stepguard.taxonomy import Fields

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
    add_model(parser)
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
        table.add_row(plain(name), plain_lines(value))
    out.print(table)
    out.print()
    out.print(_files(manifest))
    out.print()
    table = grid()
    for name, value in _prompt(prompt).items():
        table.add_row(plain(name), plain(value))
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
        "diagnosis": _diagnosis(manifest),
        "heads": _heads(manifest),
        "calibrated": _calibrated(manifest),
        "made by": f"stepguard {manifest.stepguard_version}, format {manifest.format_version}",
    }


def _diagnosis(manifest: Manifest) -> str:
    if manifest.diagnosis is None:
        return "none"
    fields = Fields.from_manifest(manifest.taxonomy or "", manifest.diagnosis).fields
    counts = (f"{len(field.entries)} of {field.dimension}" for field in fields)
    return f"labels of {manifest.taxonomy}: {_list(counts)}"


def _heads(manifest: Manifest) -> str:
    """What they tell, and how well they did on data that they were not fitted on."""
    lines = [
        f"{target}: {head.kind}, behind the question of {head.mode}; held-out families "
        f"{_share(head.within)}, held-out sources {_share(head.across)}"
        for target, head in manifest.heads.items()
    ]
    return "\n".join(lines) or "none"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _calibrated(manifest: Manifest) -> str:
    """For which settings, and what is promised."""
    lines = [
        f"{entry.mode}, kv {entry.kv}, activations {entry.activations}: {entry.method}, "
        f"{entry.promise.rate} at most {entry.promise.target:g} ({entry.promise.rule})"
        for entry in manifest.calibration
    ]
    return "\n".join(lines) or "no"


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
    taxonomy = {"taxonomy text": prompt.taxonomy_sha256} if prompt.taxonomy_sha256 else {}
    modes = {
        f"{name}, {what}": text
        for name, mode in prompt.modes.items()
        for what, text in _mode(mode).items()
    }
    return {
        "prompt": f"{prompt.name} ({kind}), {prompt.sha256}",
        **taxonomy,
        "answer": prompt.answer,
        "mode": f"{prompt.mode}, of {_list(prompt.modes)}",
        "prefix": _pieces(prompt.prefix),
        **modes,
        "rows read": _list(map(str, prompt.row_ids)),
    }


def _mode(mode: Mode) -> dict[str, str]:
    labels = {
        f"label {name}": ", ".join(
            f"{spelling.text!r} {'-'.join(map(str, spelling.path))}" for spelling in spellings
        )
        for name, spellings in mode.labels.items()
    }
    written = {"most tokens": str(mode.limit), "ends at": _list(map(str, mode.stop))}
    return {
        "thinking": "on" if mode.thinking else "off",
        "question": _pieces(mode.question),
        **labels,
        **(written if mode.limit else {}),
    }


def _pieces(pieces: Iterable[Piece]) -> str:
    """The text; what goes in as token ids has them behind it, in braces."""
    return "".join(
        "{the profile}"
        if piece.profile
        else f"{piece.text}{{{_list(map(str, piece.ids))}}}"
        if piece.ids
        else piece.text
        for piece in pieces
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
