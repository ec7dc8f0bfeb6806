"""stepguard train lora: an adapter from labelled trajectories."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from stepguard.cli.arguments import count, seed, threads
from stepguard.cli.export import add_asking
from stepguard.cli.progress import progress_bar
from stepguard.cli.show import add_json, console, formatted, grid, plain, print_json
from stepguard.extras import needs

_DESCRIPTION = """\
Trains a LoRA with PEFT, on what a guard reads: the verdict's token at every labelled action, and
the label tokens of a diagnosis where records have labels. Texts are rendered by the very code that
a guard runs with. The layers below the top N learn nothing: what they give is computed once and
kept in DIR/lower.

  stepguard train lora CHECKPOINT data.jsonl.gz other.jsonl --out DIR --minutes 90
  stepguard train lora CHECKPOINT data.jsonl.gz other.jsonl --out DIR --minutes 90    goes on
  stepguard train lora CHECKPOINT new.jsonl --out OTHER --from DIR/step-000500    learns more
  stepguard export CHECKPOINT OUT --adapter DIR/step-000500

Every checkpoint DIR/step-... is a whole adapter. A run that is killed goes on from the newest one
and ends in the same adapter, bit by bit, on the same CPU (in fp32, or with dropout, with the same
--threads, too). With bf16 --threads are records that are read side by side. Records are those of
`stepguard calibrate`; a trajectory weighs 1. See docs/training.md.
Needs the packages of: pip install 'stepguard[train,export]'
"""


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command below `stepguard train`."""
    text = "an adapter for verdicts and labels"
    parser = actions.add_parser("lora", help=text, **formatted(_DESCRIPTION))
    parser.add_argument("checkpoint", type=Path, help="a folder with safetensors, or a .gguf file")
    parser.add_argument("data", nargs="+", type=Path, help=".jsonl or .jsonl.gz files")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    text = "begin with the adapter in this folder: a checkpoint of another run, or a kept one with "
    text += "its learned.json, whose records then count as learned from, too"
    parser.add_argument("--from", dest="start", type=Path, metavar="ADAPTER", help=text)
    text = "time a few records, print how long the run would take, and write nothing"
    parser.add_argument("--estimate", action="store_true", help=text)
    text = "end this sitting after about M minutes, at a checkpoint"
    parser.add_argument("--minutes", type=float, metavar="M", help=text)
    parser.add_argument("--limit", type=count, metavar="N", help="at most N records of each file")
    text = "only the families of this split, as `stepguard train check` counts them"
    parser.add_argument("--split", choices=["train", "dev", "test"], help=text)
    text = "leave out records that an adapter which is given away must not learn from"
    parser.add_argument("--may-ship", action="store_true", help=text)
    text = "leave out the records that its lines name by sha256: those of `train purify`"
    parser.add_argument("--without", type=Path, metavar="FILE", help=text)
    text = "top layers that learn (default: a fifth of them)"
    parser.add_argument("--train-layers", type=int, metavar="N", help=text)
    text = "passes over the data (%(default)s)"
    parser.add_argument("--epochs", type=int, default=2, metavar="N", help=text)
    parser.add_argument("--rank", type=int, default=16, help="of the adapter (%(default)s)")
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate (%(default)s)")
    parser.add_argument("--dropout", type=float, default=0.0, help="(%(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="records a step (%(default)s)")
    text = "most tokens of a prefix; of longer ones the newest steps stay (%(default)s)"
    parser.add_argument("--context", type=int, default=1024, metavar="N", help=text)
    text = "most labelled prefixes of a record, those around its first unsafe step first; a long "
    text += "trajectory costs little more than a short one then (default: all)"
    parser.add_argument("--prefixes", type=int, metavar="N", help=text)
    text = "leave out records that need more than N tokens"
    parser.add_argument("--most-tokens", type=int, metavar="N", help=text)
    text = "the weight of a diagnosis beside a verdict (%(default)s)"
    parser.add_argument("--labels-weight", type=float, default=0.5, metavar="W", help=text)
    parser.add_argument("--seed", type=seed, default=0, help="(%(default)s)")
    text = "steps between checkpoints (%(default)s)"
    parser.add_argument("--every", type=int, default=50, metavar="N", help=text)
    text = "of matrix products (default: bf16 where the CPU has it)"
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto", help=text)
    parser.add_argument("--threads", type=threads, metavar="N", help="cores to use (default: all)")
    add_base(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def add_base(parser: argparse.ArgumentParser) -> None:
    """The options that say how the base is asked; an export must be given the same."""
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", metavar="FILE", help="an official prompt file")
    prompt.add_argument("--template", choices=["short"], help="our own short prompt")
    text = "labels of a diagnosis: a JSON file, or base, claw, codex or all"
    parser.add_argument("--taxonomy", metavar="FILE", help=text)
    add_asking(parser)


def open_from(arguments: argparse.Namespace) -> Any:
    """The base that the options name. Raises what `open_base` raises."""
    from stepguard.train.lora.base import open_base

    switch = {"auto": None, "on": True, "off": False}
    return open_base(
        arguments.checkpoint,
        prompt=arguments.prompt,
        template=arguments.template,
        taxonomy=arguments.taxonomy,
        prompt_taxonomy=arguments.prompt_taxonomy,
        answer=arguments.answer,
        mode=arguments.mode,
        thinking=switch[arguments.thinking],
        rationale=switch[arguments.rationale],
    )


def run(arguments: argparse.Namespace) -> int:
    """Reads, trains for a sitting, and prints where the run stands."""
    with needs("train,export", "stepguard train lora"):
        import torch

        from stepguard.train.lora.estimate import estimate
        from stepguard.train.lora.loop import Trainer
        from stepguard.train.lora.memory import keep_freed_memory
        from stepguard.train.lora.rows import Packer
        from stepguard.train.lora.settings import Settings
        from stepguard.train.lora.start import read_start
        from stepguard.train.lora.tower import best_precision
    from stepguard.train.records import read_records
    from stepguard.train.splits import weights

    keep_freed_memory()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    start = None if arguments.start is None else read_start(arguments.start)
    records = _chosen(read_records(arguments.data, arguments.limit), arguments)
    base = open_from(arguments)
    layers = arguments.train_layers
    precision = arguments.precision
    settings = Settings(
        layers=max(1, base.layers // 5) if layers is None else layers,
        rank=arguments.rank,
        alpha=2 * arguments.rank,
        dropout=arguments.dropout,
        rate=arguments.rate,
        epochs=arguments.epochs,
        batch=arguments.batch,
        context=arguments.context,
        prefixes=arguments.prefixes,
        labels=arguments.labels_weight,
        seed=arguments.seed,
        precision=best_precision() if precision == "auto" else precision,
    )
    packer = Packer(base.encoder, base.labels, base.fields, settings.context, settings.prefixes)
    packed = []
    with progress_bar("reading", "records") as bar:
        pairs = zip(records, weights(records).tolist(), strict=True)
        for done, (record, weight) in enumerate(pairs, start=1):
            packed.append(packer.pack(record, weight))
            if bar is not None:
                bar(done, len(records))
    if arguments.most_tokens is not None:
        packed = [one for one in packed if one.tokens <= arguments.most_tokens]
    # Dropout is drawn in the order in which records are read, so one after the other.
    alone = settings.precision != "bf16" or settings.dropout > 0
    beside = 1 if alone else torch.get_num_threads()
    if arguments.estimate:
        found = estimate(base, packed, settings, beside=beside)
        _print_estimate(found.to_dict(), settings, arguments)
        return 0
    trainer = Trainer(base, packed, arguments.out, settings, beside, start)
    with progress_bar("training", "steps") as bar:
        sitting = trainer.sit(arguments.minutes, arguments.every, bar)
    questions = [question for one in packed for question in one.questions]
    facts: dict[str, Any] = {
        "records": len(packed),
        "prefixes": len(questions),
        "unsafe": sum(question.unsafe for question in questions),
        "silent": sum(not one.rows for one in packed),
        "cut": sum(one.cut for one in packed),
        "unread": sum(one.unread for one in packed),
        "tokens": sum(one.tokens for one in packed),
        "settings": settings.to_dict(),
        "begun": sitting.begun,
        "steps": sitting.done,
        "total": sitting.total,
        "seconds": round(sitting.seconds, 1),
        "loss": sitting.losses[-1] if sitting.losses else None,
        "checkpoint": str(sitting.checkpoint) if sitting.checkpoint else None,
    }
    if arguments.json:
        print_json(facts)
    else:
        _print(facts, arguments)
    return 0


def _chosen(records: list[Any], arguments: argparse.Namespace) -> list[Any]:
    """The records that are learned from."""
    from stepguard.train.licence import may_ship
    from stepguard.train.records import listed_hashes
    from stepguard.train.splits import by_family

    if arguments.split is not None:
        records = by_family(records)[arguments.split]
    if arguments.may_ship:
        records = may_ship(records)[0]
    if arguments.without is not None:
        left_out = listed_hashes(arguments.without)
        records = [record for record in records if record.sha256 not in left_out]
    return records


def _print_estimate(found: dict[str, Any], settings: Any, arguments: argparse.Namespace) -> None:
    total = found["first"] + (settings.epochs - 1) * found["later"]
    if arguments.json:
        print_json({**found, "seconds": total, "settings": settings.to_dict()})
        return
    table = grid()
    table.add_row("data", f"{found['tokens']} tokens")
    table.add_row("first pass", f"{found['first'] / 60:.1f} min")
    table.add_row("later ones", f"{found['later'] / 60:.1f} min each")
    table.add_row("in all", f"{total / 60:.1f} min for {settings.epochs}")
    table.add_row("kept on disk", f"{found['kept'] / 1e6:.0f} MB")
    console().print(table)


def _print(facts: dict[str, Any], arguments: argparse.Namespace) -> None:
    settings, made = facts["settings"], facts["steps"] - facts["begun"]
    table = grid()
    rows = {
        "data": f"{facts['records']} records, {facts['prefixes']} prefixes, {facts['unsafe']} of "
        f"them unsafe; {facts['cut']} cut to {settings['context']} tokens, "
        f"{facts['unread']} not read; {facts['silent']} records without a labelled action",
        "adapter": f"rank {settings['rank']} on the top {settings['layers']} layers, "
        f"{settings['precision']}",
        "steps": f"{facts['steps']} of {facts['total']}, {made} of them in this sitting",
    }
    if made:
        rows["time"] = f"{facts['seconds']:.0f} s, {facts['seconds'] / made:.2f} s a step"
        rows["loss"] = f"{facts['loss']:.4f} in the last step"
    if facts["checkpoint"]:
        rows["checkpoint"] = facts["checkpoint"]
    for name, value in rows.items():
        table.add_row(name, plain(value))
    out = console()
    out.print(table)
    if facts["steps"] < facts["total"]:
        out.print("Type the same command to go on.")
    else:
        checkpoint = plain(str(arguments.checkpoint))
        out.print(f"stepguard export {checkpoint} OUT --adapter {plain(facts['checkpoint'])}")
