"""The run: its folder, its seed, and whether anything is bought at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from student.options.presets import PresetName
from student.options.section import Count, Section, UserPath, names, option

TrackerName = Literal["mlflow", "wandb"]


class RunOptions(Section):
    """What concerns one execution of the client as a whole."""

    out: UserPath = option(
        Path("runs/student"), "output folder of the student and its report", identifies=False
    )
    config: UserPath | None = option(None, "TOML file with any of these options", identifies=False)
    preset: PresetName | None = option(
        None,
        "values for the options that are not named: quick (minutes on two cores) or paper (hours "
        "without a GPU); --dry-run says how long on this machine",
        identifies=False,
    )
    dry_run: bool = option(
        False, "print the plan, then stop: nothing is bought or trained", identifies=False
    )
    track: Annotated[list[TrackerName], NoDecode, BeforeValidator(names)] = option(
        list,
        "log metrics, queries and dollars to this tracker too (repeatable), beside curves.jsonl "
        "and TensorBoard's files in --out; its own environment variables say where "
        "(MLFLOW_TRACKING_URI, WANDB_MODE; extras mlflow and wandb)",
        identifies=False,
    )
    seed: Count = option(
        0,
        "random seed of the split, the order of buying, the views and the training",
        identifies=True,
    )
