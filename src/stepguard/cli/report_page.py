"""stepguard report: a trajectory and its verdicts as one page."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from stepguard.cli.arguments import count
from stepguard.cli.load import add_model, add_settings, load_guard
from stepguard.cli.progress import progress_bar
from stepguard.cli.saved import UNTRAINED, model_facts, to_object
from stepguard.cli.show import formatted
from stepguard.errors import TaxonomyError, TrajectoryError
from stepguard.files import Named, read_trajectories
from stepguard.private_files import write_private
from stepguard.prompt.answers import RATIONALE
from stepguard.report import Shown, check_fit, page, read_judgement, read_saved

_DESCRIPTION = """\
Writes one HTML page without scripts: the score over the actions with its thresholds, where the
trajectory turned, the diagnosis, the times, what was not covered, and every step.

  stepguard report trajectory.json -o page.html --model OUT
  stepguard moderate OUT trajectory.json --diagnose --json > verdicts.json
  stepguard report trajectory.json -o page.html --verdicts verdicts.json     no model is needed
  stepguard report many.jsonl -o page.html --model OUT --number 3            its third trajectory

The page holds the trajectory's content, only to be read: it loads nothing, runs nothing and links
to nothing but its own steps. It is of mode 0600.
"""
_EPILOG = """\
exit status: 0 when the page is written, 1 when something cannot be read or written, 2 for wrong
usage. Whatever the verdicts are: `stepguard moderate` tells.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    help_text = "write a trajectory and its verdicts as a page"
    parser = commands.add_parser(
        "report", help=help_text, epilog=_EPILOG, **formatted(_DESCRIPTION)
    )
    parser.add_argument("trajectory", help=".json, .jsonl or .jsonl.gz")
    parser.add_argument(
        "-o", "--out", required=True, type=Path, metavar="PAGE", help="an .html file"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    add_model(source, "--model", ", which judges now")
    source.add_argument("--verdicts", metavar="FILE", help="what `moderate --json` printed")
    parser.add_argument(
        "--number", type=count, metavar="N", help="which trajectory of a .jsonl file, from 1"
    )
    parser.add_argument(
        "--most",
        type=count,
        default=4000,
        metavar="N",
        help="characters of a text that are shown (%(default)s)",
    )
    add_settings(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judges or reads verdicts, and writes the page."""
    index, item = _chosen(read_trajectories(arguments.trajectory), arguments)
    if arguments.model is not None:
        where, value, index = arguments.model, _judge(arguments, item), 0
    else:
        where, value = arguments.verdicts, read_saved(arguments.verdicts)
    judgement = read_judgement(value, index, where)
    check_fit(judgement.verdicts, item.trajectory, where)
    text = page(
        Shown(
            name=item.name or Path(arguments.trajectory).name,
            trajectory=item.trajectory,
            judgement=judgement,
            most=arguments.most,
            note="" if judgement.model.trained else UNTRAINED,
        )
    )
    write_private(arguments.out, [text.encode()])
    return 0


def _chosen(found: list[Named], arguments: argparse.Namespace) -> tuple[int, Named]:
    number = arguments.number
    if number is None and len(found) == 1:
        return 0, found[0]
    if number is None or number > len(found):
        raise TrajectoryError(
            arguments.trajectory,
            expected="one trajectory" if number is None else f"a trajectory {number}",
            got=f"{len(found)} trajectories",
            fix="Say which with --number.",
        )
    return number - 1, found[number - 1]


def _judge(arguments: argparse.Namespace, item: Named) -> Any:
    """What `moderate --json` would print, with a diagnosis where the guard has labels."""
    with load_guard(arguments) as guard:
        try:
            guard.require_labels()
            diagnose = True
        except TaxonomyError:
            diagnose = False
        started = time.perf_counter()
        unit = "trajectories" if guard.mode == RATIONALE else "tokens"
        with progress_bar("reading", unit) as progress:
            verdicts = guard.moderate_many([item.trajectory], progress=progress, diagnose=diagnose)
        facts = model_facts(arguments.model, guard)
    facts["seconds"] = time.perf_counter() - started
    return json.loads(json.dumps(to_object(facts, [item], verdicts)))
