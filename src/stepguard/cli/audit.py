"""stepguard audit: whether a log of decisions still is the one that was written."""

from __future__ import annotations

import argparse

from rich.table import Table

from stepguard.audit import START, Checked, verify
from stepguard.cli.show import add_json, console, formatted, plain, print_json
from stepguard.errors import AuditError

_DESCRIPTION = """\
Reads a log of decisions and says where the chain of its hashes breaks. With LOG, its full files
LOG.000001 and so on are read as well, in their order.

  stepguard audit verify decisions.jsonl
  stepguard audit verify decisions.jsonl --anchor 9f86d081...   a head that was kept elsewhere
  stepguard audit verify decisions.jsonl.000007 --after 60303ae2...   older files were put away

Every line carries the hash of the line before. That shows accidents: whoever may write the file can
write a chain anew. Only a head that was kept where they cannot write shows that, and that lines are
missing at the end.
"""
_EPILOG = """\
exit status: 0 when nothing is broken, else 1

keys of --json:
  whole         true when nothing is broken
  files, lines  what was read
  breaks        a list of objects: file, line (from 1), what, expected, got
  torn          where a crash left a part of a line, and the next line says so
  unfinished    bytes at the very end that are no line yet
  head          the hash of the last line, to be kept elsewhere
  after_anchor  how many lines follow the anchor, or null
"""
_MOST = 20  # breaks that people are shown


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "audit", help="check a log of decisions", **formatted(_DESCRIPTION)
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    parser = actions.add_parser(
        "verify", help="find where the chain breaks", epilog=_EPILOG, **formatted(_DESCRIPTION)
    )
    parser.add_argument("log", nargs="+", metavar="LOG", help="files of one log")
    parser.add_argument("--anchor", metavar="HASH", help="a head of the log, from another place")
    parser.add_argument(
        "--after", metavar="HASH", default=START, help="the hash of the line before the first"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Reads the files and prints what was found."""
    found = verify(arguments.log, anchor=arguments.anchor, after=arguments.after)
    if not found.files:
        raise AuditError(str(arguments.log[0]), expected="a log", got="a lock file")
    if arguments.json:
        print_json(found.to_dict())
    else:
        _print(found, arguments.anchor is not None)
    return 0 if found.whole else 1


def _print(found: Checked, anchored: bool) -> None:
    out = console()
    out.print(f"{found.lines} lines in {len(found.files)} files, head {found.head}")
    for place in found.torn:
        out.print(plain(f"{place}: a crash left a part of a line, and the next line says so"))
    if found.unfinished:
        out.print(
            f"{found.unfinished} bytes at the end are no line yet: a crash, or a writer at work."
        )
    if found.breaks:
        out.print(_breaks(found))
    if len(found.breaks) > _MOST:
        out.print(f"and {len(found.breaks) - _MOST} more; --json has all of them")
    if found.after_anchor is not None:
        out.print(f"The anchor is in it; {found.after_anchor} lines follow.")
    if found.whole:
        out.print("The chain is whole.", style="green")
    if not anchored:
        out.print("Without an anchor that shows accidents, not attackers.", style="dim")


def _breaks(found: Checked) -> Table:
    table = Table(box=None, pad_edge=False, title="where it breaks", title_justify="left")
    for name in ("file", "line", "what", "expected", "got"):
        table.add_column(name, overflow="fold", justify="right" if name == "line" else "left")
    for one in found.breaks[:_MOST]:
        table.add_row(
            plain(one.file), str(one.line), one.what, plain(one.expected), plain(one.got, 80)
        )
    return table
