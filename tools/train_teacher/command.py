"""The command line that the training scripts of all data sets share."""

import argparse
from pathlib import Path

import open_clip
import torch

from student.errors import BadInput
from tools.train_teacher.concepts import read
from tools.train_teacher.folder import save
from tools.train_teacher.measure import measure, table
from tools.train_teacher.recipe import BATCH, TeacherDataset, TrainingSettings
from tools.train_teacher.train import train

TEACHERS = Path("work/teachers")


def parser(dataset: TeacherDataset) -> argparse.ArgumentParser:
    """Build the command line, with the defaults of the data set."""
    made = argparse.ArgumentParser(description=f"Train a small CLIP teacher on {dataset.name}.")
    made.add_argument(
        "--data",
        type=Path,
        default=dataset.data,
        help="folder of the data set (default: %(default)s)",
    )
    made.add_argument("--work", type=Path, help="folder of the checkpoint")
    made.add_argument("--out", type=Path, help="folder of the model; its name is the model id")
    made.add_argument(
        "--leave-out-styles",
        nargs="+",
        default=[],
        metavar="STYLE",
        help="styles that are not trained on",
    )
    strength = made.add_mutually_exclusive_group()
    strength.add_argument(
        "--steps",
        type=int,
        default=dataset.steps,
        help="optimiser steps (default: %(default)s)",
    )
    strength.add_argument(
        "--weak",
        dest="steps",
        action="store_const",
        const=dataset.weak_steps,
        help=f"train a deliberately weak teacher: {dataset.weak_steps} steps",
    )
    made.add_argument(
        "--batch", type=int, default=BATCH, help="concepts per step (default: %(default)s)"
    )
    made.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    made.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help='"cpu" or "cuda" (default: cuda if available)',
    )
    made.add_argument("--threads", type=int, default=0, help="CPU threads; 0 uses all (default)")
    return made


def run(dataset: TeacherDataset, options: argparse.Namespace, *, home: Path | None = None) -> Path:
    """Train, save and measure a teacher; return the folder of the model.

    `home` is the folder of the teacher with default options. A control, trained with other options,
    gets a folder of its own name, so that it never overwrites the default teacher.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    training = TrainingSettings(
        subject=dataset.name,
        left_out=tuple(sorted(set(options.leave_out_styles))),
        steps=options.steps,
        batch=options.batch,
        seed=options.seed,
    )
    name = training.name(dataset.steps, dataset.weak_steps)
    usual = home if home is not None and name == dataset.name else TEACHERS / name
    folder: Path = options.out or usual
    work: Path = options.work or TEACHERS / f"{name}.training"
    work.mkdir(parents=True, exist_ok=True)
    training_data = read(options.data, dataset.names, left_out=training.left_out)
    model = train(
        training_data,
        training,
        work / "checkpoint.pt",
        device=options.device,
        progress=lambda line: print(line, flush=True),
    )
    save(
        model,
        folder,
        {
            "command": training.command(dataset.script),
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


def main(dataset: TeacherDataset, *, home: Path | None = None) -> None:
    """Parse the options and run. Raises SystemExit with one line for bad input."""
    try:
        run(dataset, parser(dataset).parse_args(), home=home)
    except BadInput as error:
        raise SystemExit(str(error)) from error
