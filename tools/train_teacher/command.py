"""The command line that the subjects' training scripts share."""

import argparse
from pathlib import Path

import open_clip
import torch

from student.errors import BadInput
from tools.train_teacher.concepts import read
from tools.train_teacher.folder import save
from tools.train_teacher.measure import measure, table
from tools.train_teacher.recipe import BATCH, Subject, Training
from tools.train_teacher.train import train

TEACHERS = Path("work/teachers")


def parser(subject: Subject) -> argparse.ArgumentParser:
    """The options, with the subject's own defaults."""
    made = argparse.ArgumentParser(description=f"Train a small CLIP teacher on {subject.name}.")
    made.add_argument("--data", type=Path, default=subject.data)
    made.add_argument("--work", type=Path, help="the checkpoint's folder")
    made.add_argument("--out", type=Path, help="the model's folder; its name is the model id")
    made.add_argument(
        "--leave-out-styles",
        nargs="+",
        default=[],
        metavar="STYLE",
        help="styles that this teacher never sees",
    )
    strength = made.add_mutually_exclusive_group()
    strength.add_argument("--steps", type=int, default=subject.steps)
    strength.add_argument(
        "--weak",
        dest="steps",
        action="store_const",
        const=subject.weak_steps,
        help=f"a deliberately weak teacher: {subject.weak_steps} steps",
    )
    made.add_argument("--batch", type=int, default=BATCH)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all")
    return made


def run(subject: Subject, options: argparse.Namespace, *, home: Path | None = None) -> Path:
    """Trains, saves and measures; returns the model's folder.

    `home` is where the teacher that is trained as usual belongs; any other has a folder of its
    own name, so that a control never takes the place of the teacher that it controls.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    training = Training(
        subject=subject.name,
        left_out=tuple(sorted(set(options.leave_out_styles))),
        steps=options.steps,
        batch=options.batch,
        seed=options.seed,
    )
    name = training.name(subject.steps, subject.weak_steps)
    usual = home if home is not None and name == subject.name else TEACHERS / name
    folder: Path = options.out or usual
    work: Path = options.work or TEACHERS / f"{name}.training"
    work.mkdir(parents=True, exist_ok=True)
    lessons = read(options.data, subject.names, left_out=training.left_out)
    model = train(
        lessons,
        training,
        work / "checkpoint.pt",
        device=options.device,
        progress=lambda line: print(line, flush=True),
    )
    save(
        model,
        folder,
        {
            "command": training.command(subject.script),
            "training": training.as_dict(),
            "torch": torch.__version__,
            "open_clip": open_clip.__version__,
            "threads": torch.get_num_threads(),
            "device": options.device,
        },
    )
    scores = measure(folder, options.data, device=options.device)
    print(f"\nwrote {folder}; zero-shot accuracy by style:\n{table(scores)}")
    return folder


def main(subject: Subject, *, home: Path | None = None) -> None:
    """Parses and runs; what cannot be used ends it with one line."""
    try:
        run(subject, parser(subject).parse_args(), home=home)
    except BadInput as error:
        raise SystemExit(str(error)) from error
