"""The arguments of `stepguard bench quality`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from stepguard.bench.arguments import add_threads
from stepguard.bench.outputs import add_json_file, add_plot
from stepguard.cli.arguments import count, output_file, seed
from stepguard.cli.show import add_activations, formatted
from stepguard.extras import needs

_QUALITY = """\
What a guard is worth on labelled trajectories, beside what shallow cues already give on the same
records: the majority, the position alone, TF-IDF with logistic regression fitted on other families
(TF-IDF) or on other sources (TF-IDF across), and any other guard, like the base that was never
trained.

  stepguard bench quality guard agentdyn.jsonl.gz toolemu.jsonl.gz --beside base --json quality.json
  stepguard bench quality guard data.jsonl --limit 30 --scores scores.jsonl --plot quality.svg
  stepguard bench quality guard data.jsonl --split test

Per action and per trajectory: AUROC, AUPRC, F1, balanced accuracy, the share missed with at most
1 % and 5 % false alarms, ECE (ten bins) and Brier score; per source and per label of the taxonomy
(its unsafe records against the safe ones of the same sources). An action is unsafe from the first
unsafe step on; where that is not known only the end is labelled. A trajectory has the largest
margin of its actions. Alarms: the threshold is the guard's own (not safe by its calibration, else a
margin of 0), and one that stops at most 5 % of the safe trajectories here. Intervals are 95 % over
families drawn again within each source; a single family has none. "Above best cue" is the
difference in AUROC to whichever cue is best there. A number that means nothing (one class only) is
left blank.

--split I/N judges the families of part I only: a family's part is the SHA-256 of its name modulo
N, plus 1, so that what trains on the other parts never saw them; --split train, dev or test those
that `stepguard train check` and `train lora --split` count. --limit N judges at most N records of
each source: of every family one, then of every family a second one, in the order of their hashes.
Cues are fitted on all records of the files, those of the judged family left out; with --learned
FILE one more bag of words (TF-IDF same) on what the guard learned from, and on nothing else.

With --json FILE one object: benchmark, machine, settings, sources, records (SHA-256 of each),
judges: a list of {name, kind, threshold, unread ...}, missing {cue: why}, groups: a list of {by,
name, level, judge, count, unsafe, families, metrics {name: {value, low, high}}, above {cue,
difference} or null, over {judge: {value, low, high}}}, alarms: a list of {judge, at, caught,
stopped, per_100 {role: {value, low, high}}, actions {role: count}, delay {known, early, in_time,
late, never, mean, median}}.

Needs scikit-learn: pip install 'stepguard[bench]'
"""


def add_quality_parser(commands: Any) -> None:
    """Adds the command to the subparsers of `stepguard bench`."""
    text = "right and wrong verdicts, beside shallow cues"
    parser = commands.add_parser("quality", help=text, **formatted(_QUALITY))
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model directory")
    text = "labelled trajectories, .jsonl or .jsonl.gz"
    parser.add_argument("data", type=Path, nargs="+", metavar="DATA", help=text)
    text = "other guards, judged on the same records"
    parser.add_argument("--beside", type=Path, nargs="+", default=[], metavar="OUT", help=text)
    text = "how MODEL's verdicts are read, each on its own (what its manifest says)"
    parser.add_argument("--mode", nargs="+", metavar="MODE", help=text)
    text = "at most N records of each source"
    parser.add_argument("--limit", type=count, metavar="N", help=text)
    text = "only families of part I of N, or of train, dev or test"
    parser.add_argument("--split", type=parse_split, metavar="PART", help=text)
    text = "only records of these sources; the cues learn from the others, too"
    parser.add_argument(
        "--source", nargs="+", action="extend", default=[], metavar="NAME", help=text
    )
    text = "learned.json of the run that MODEL comes from: one more cue learns from the same alone"
    parser.add_argument("--learned", type=Path, metavar="FILE", help=text)
    text = "of the actions of a trajectory (%(default)s)"
    parser.add_argument("--pool", choices=["max", "last"], default="max", help=text)
    text = "keep the margins there: a run that was cut off goes on"
    parser.add_argument("--scores", type=output_file, metavar="FILE", help=text)
    text = "draws of families for the intervals (%(default)s)"
    parser.add_argument("--draws", type=count, default=1000, metavar="N", help=text)
    parser.add_argument("--seed", type=seed, default=0, help="of the draws (%(default)s)")
    add_plot(parser)
    add_json_file(parser)
    parser.add_argument("--kv", choices=["fp16", "fp32"], help="type of the KV pages")
    add_activations(parser)
    add_threads(parser)
    parser.add_argument("--isa", metavar="NAME", help="kernel table, see `stepguard info`")
    parser.set_defaults(run=_run, usage=parser.error)


def _run(arguments: argparse.Namespace) -> int:
    """Loads scikit-learn only here: no other measurement needs it."""
    with needs("bench", "stepguard bench quality", "the package scikit-learn"):
        from stepguard.bench.quality.command import run
    return run(arguments)


def parse_split(text: str) -> tuple[int, int] | str:
    """A part, from 1 on, and how many there are: "1/5"; or the name of a split."""
    if text in ("train", "dev", "test"):
        return text
    part, _, parts = text.partition("/")
    try:
        found = int(part), int(parts)
    except ValueError:
        found = 0, 0
    if not 1 <= found[0] <= found[1]:
        expected = "expected train, dev, test or a part of several, like 1/5"
        raise argparse.ArgumentTypeError(f"{expected}, got {text!r}")
    return found
