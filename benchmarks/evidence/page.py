"""docs/evidence.md and its charts, wholly from the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.evidence.choices import (
    auto_section,
    cifar_section,
    pacs_section,
    read_choices,
)
from benchmarks.evidence.clip_space import clip_space_section
from benchmarks.evidence.default_method import default_section
from benchmarks.evidence.digits import LOOKS
from benchmarks.evidence.geometry import geometry_section
from benchmarks.evidence.lines import DIGITS_SHIFT, HOUSE, KINDS, LINES, SHIFTS, Found
from benchmarks.evidence.made_of import made_of
from benchmarks.evidence.protocol import (
    HOUSES,
    ONE_QUERY,
    PUBLISHED_VIEWS,
    SEEDS_OF_TEACHERS,
    settings_for,
)
from benchmarks.evidence.targets import kept_at_a_tenth, target_table
from benchmarks.evidence.words import (
    BY_CHANCE,
    CURVES,
    DIGITS,
    HEAD,
    HEADLINE,
    HOUSE_BY_HOUSE,
    KINDS_OF_PICTURE,
    LEAST_GAIN,
    LOOK_BY_LOOK,
    METHODS,
    NOT_SHOWN,
    PROTOCOL,
    PUBLISHED_STEPS,
    SPEND,
    TARGETS,
    TEACHERS_TEXT,
    WHITE_BOX,
)
from student.acquisition.strategies import SELECTORS
from student.bench.charts import Curve, Spot, against, against_queries, bars
from student.bench.constants import ZERO_SHOT
from student.bench.rows import read_rows
from student.bench.series import Series
from student.bench.tables import NOT_YET, accuracy_table, cell, difference_table, held_out_table
from student.report.markdown import table

CHOICES = Path(__file__).parents[2] / "docs/results/selections.jsonl"
"""What `--method auto` chose, by `benchmarks.evidence.selections`."""


def write_page(rows: Path, docs: Path) -> None:
    """Writes docs/evidence.md and docs/images/evidence-*.png; equal rows give an equal page.

    Raises BadInput for a file of rows that cannot be read.
    """
    found = Found(rows=read_rows(rows))
    docs.mkdir(parents=True, exist_ok=True)
    text = "\n".join(_page(found, docs / "images")) + "\n"
    (docs / "evidence.md").write_text(text)


def _page(found: Found, images: Path) -> Iterator[str]:
    training = settings_for("emoji").training
    choices = read_choices(CHOICES)
    yield HEAD
    yield from default_section(found, choices, images)
    yield from _headline(found, images)
    yield from ["## Targets and results", "", TARGETS, *target_table(found), ""]
    yield from _least_gain(found)
    yield from _published_steps(found)
    yield from _curves(found, images)
    yield from _spend(found)
    yield from _methods(found, images)
    yield from _teachers(found, images)
    yield from geometry_section(found)
    yield from _white_box(found)
    yield from _digits(found)
    yield from pacs_section(found)
    yield from clip_space_section(found)
    yield from cifar_section(found)
    yield from auto_section(found, choices)
    yield from ["## Limitations", "", NOT_SHOWN]
    yield PROTOCOL.format(
        steps=training.steps,
        align_steps=training.align_steps,
        batch=training.batch_per_domain,
        lr=training.lr,
        published=PUBLISHED_VIEWS,
    )
    yield from made_of(found)


def _headline(found: Found, images: Path) -> Iterator[str]:
    lines = found.headline()
    erm, kd, published, *rest = lines
    teacher = lines[-1]
    students = [line for line in rest if line is not teacher]
    drawn = against_queries(
        images / "evidence-headline.png",
        _curves_of(found, lines),
        SHIFTS,
        levels={"ERM": erm},  # the teacher's own line lies far above and would flatten the rest
        title="Accuracy on unlabelled styles against the queries bought",
    )
    yield from _picture("evidence-headline.png", "Accuracy against queries", drawn=drawn)
    yield from ["## Unlabelled styles", "", HEADLINE]
    yield from [*accuracy_table(lines, SHIFTS), ""]
    yield from [*difference_table([published, *students], [erm], SHIFTS), ""]
    yield from [*difference_table([published, *students], [kd], SHIFTS), ""]
    yield from [*difference_table(students, [published], SHIFTS), ""]
    yield HOUSE_BY_HOUSE
    one_by_one = [erm, kd, published, *students]
    yield from [*held_out_table(one_by_one, HOUSES, HOUSE, gain=(students[-1], published)), ""]
    yield from ["## Unlabelled pictures", "", KINDS_OF_PICTURE]
    yield from [*accuracy_table(lines, KINDS), ""]
    yield from [*difference_table([published, *students], [erm], KINDS), ""]


def _least_gain(found: Found) -> Iterator[str]:
    published, one_query, *changed = found.least_gain()
    yield from ["## Where VL2V-ADiP-1q gains least", "", LEAST_GAIN]
    yield from [*accuracy_table([published, one_query, *changed], SHIFTS), ""]
    yield from [*difference_table(changed, [one_query], SHIFTS), ""]


def _curves_of(found: Found, lines: Sequence[Series]) -> list[Curve]:
    _, kd, published, one_query, _ = lines
    return [
        Curve(label="VL2V-ADiP-1q (1 view)", points=[one_query]),
        Curve(label=f"VL2V-ADiP as published ({PUBLISHED_VIEWS} views)", points=[published]),
        Curve(label=f"KD ({PUBLISHED_VIEWS} views)", points=[kd]),
    ]


def _curves(found: Found, images: Path) -> Iterator[str]:
    curves = found.curves()
    first, *others = curves
    # With none or all bought there is nothing to select: those points are the first curve's alone.
    between = [Curve(label=curve.label, points=curve.points[1:-1]) for curve in others]
    drawn = against_queries(
        images / "evidence-curves.png",
        [first, *(curve for curve in between if any(point.rows for point in curve.points))],
        SHIFTS,
        levels=found.curve_levels(),
        title="VL2V-ADiP-1q at increasing numbers of images, by selector; shaded: 95% of random",
    )
    yield from ["## Accuracy against queries", "", CURVES]
    yield from _picture("evidence-curves.png", "Accuracy against queries by selector", drawn=drawn)
    for column in (HOUSE, LINES):
        titles = [point.title.split(", ")[1] for point in curves[0].points]
        yield from [
            f"{column.title}, %, by the share of the images that is bought:".capitalize(),
            "",
        ]
        rows = [
            [curve.label, *(cell(point.mean(column)) for point in curve.points)] for curve in curves
        ]
        yield from [*table(["selector", *titles], rows), ""]
        yield from [f"Points above random at the same price, {column.title}:", ""]
        rows = [
            [
                curve.label,
                *(
                    cell(point.above(base, column), signed=True)
                    for point, base in zip(curve.points[1:-1], curves[0].points[1:-1], strict=True)
                ),
            ]
            for curve in curves[1:]
        ]
        yield from [*table(["selector", *titles[1:-1]], rows), ""]
    kept = [
        [name, *(cell(kept_at_a_tenth(found, column, name)) for column in (HOUSE, LINES))]
        for name in SELECTORS
    ]
    yield from ["Part of the full-budget gain over ERM that is kept at 10% of the images, %:", ""]
    yield from [*table(["selector", HOUSE.title, LINES.title], kept), ""]


def _spend(found: Found) -> Iterator[str]:
    yield from ["## More images or more views", "", SPEND]
    for times in (1, 4):
        words = "one query" if times == 1 else f"{times} queries"
        yield from [f"At the price of {words} for each image:", ""]
        all_of_them, *fewer = found.spend(times)
        yield from [*accuracy_table([all_of_them, *fewer], SHIFTS), ""]
        yield from [*difference_table(fewer, [all_of_them], SHIFTS), ""]


def _methods(found: Found, images: Path) -> Iterator[str]:
    lines = found.methods()
    erm, _, _, _, teacher, *_ = lines
    yield from ["## Every method, and what each part is worth", "", METHODS]
    drawn = bars(
        images / "evidence-methods.png",
        [line for line in lines if line is not erm and line is not teacher],
        erm,
        SHIFTS,
        title="Every method on the same images and the same purchase",
    )
    yield from _picture("evidence-methods.png", "Points above ERM by method", drawn=drawn)
    yield from [*accuracy_table(lines, SHIFTS), ""]
    whole, levers = found.lever_start(), found.levers()
    seen = {column.title: found.by_chance(column) for column in SHIFTS}
    chance = {title: half_width for title, half_width in seen.items() if half_width}
    drawn = bars(
        images / "evidence-ablation.png",
        levers,
        whole,
        SHIFTS,
        title="VL2V-ADiP-1q with one option changed; shaded: the effect of another seed",
        chance=chance,
    )
    yield from _picture(
        "evidence-ablation.png", "Points above VL2V-ADiP-1q with one option changed", drawn=drawn
    )
    yield from [*difference_table(levers, [whole], SHIFTS), ""]
    words = ", ".join(f"±{100 * half_width:.1f} ({title})" for title, half_width in chance.items())
    yield from [BY_CHANCE.format(half_widths=words)] if chance else []


def _teachers(found: Found, images: Path) -> Iterator[str]:
    yield from ["## What the teacher knows", "", TEACHERS_TEXT]
    names = list(SEEDS_OF_TEACHERS)
    lines: list[Series] = []
    above_own: list[str] = []
    spots: dict[str, dict[str, list[Spot]]] = {column.title: {} for column in SHIFTS}
    for name in names:
        teacher, erm = found.teacher(name, ZERO_SHOT), found.teacher(name, "erm")
        students = [found.teacher(name, method) for method in (ONE_QUERY, "vl2v-adip")]
        lines += [teacher, *students]
        above_own += difference_table(students, [teacher], SHIFTS)[2 if above_own else 0 :]
        for method, line in zip(
            ("VL2V-ADiP-1q, 1 view", "VL2V-ADiP, 1 view"), students, strict=True
        ):
            for column in SHIFTS:
                gain, knows = line.above(erm, column), teacher.mean(column)
                if gain is not None and knows is not None:
                    of_method = spots[column.title].setdefault(method, [])
                    of_method.append(Spot(name=name, x=knows, y=gain))
    drawn = against(
        images / "evidence-teachers.png",
        spots,
        across="the teacher's own accuracy there, %",
        up="the student's gain over ERM, points",
        title="The student's gain against what its teacher knows",
    )
    yield from _picture("evidence-teachers.png", "Gain against the teacher's accuracy", drawn=drawn)
    erm = found.teacher(names[0], "erm")
    yield from [*accuracy_table([*lines, erm], SHIFTS), ""]
    students = [line for line in lines if not line.title.startswith("the teacher")]
    yield from [*difference_table(students, [erm], SHIFTS), ""]
    yield from [*above_own, ""]


def _published_steps(found: Found) -> Iterator[str]:
    published, *one_query, erm = found.published_steps()
    yield from ["## At the published number of steps", "", PUBLISHED_STEPS]
    yield from [*accuracy_table([published, *one_query, erm], SHIFTS), ""]
    yield from [*difference_table(one_query, [published], SHIFTS), ""]
    yield from [*difference_table([published, *one_query], [erm], SHIFTS), ""]


def _white_box(found: Found) -> Iterator[str]:
    teacher, *students = found.white_box()
    yield from ["## Where the weights are at hand", "", WHITE_BOX]
    yield from [*accuracy_table([teacher, *students], SHIFTS), ""]
    yield from [*difference_table(students, [teacher], SHIFTS), ""]


def _digits(found: Found) -> Iterator[str]:
    lines = found.digits()
    erm, published, one_query, _ = lines
    look, _ = DIGITS_SHIFT
    yield from ["## Digits, with the settings found on emoji", "", DIGITS]
    yield from [*accuracy_table(lines, DIGITS_SHIFT), ""]
    yield from [*difference_table([published, one_query], [erm], DIGITS_SHIFT), ""]
    yield from [*difference_table([one_query], [published], DIGITS_SHIFT), ""]
    yield LOOK_BY_LOOK
    yield from [*held_out_table(lines, LOOKS, look, gain=(one_query, published)), ""]


def _picture(name: str, words: str, *, drawn: bool) -> list[str]:
    return [f"![{words}](images/{name})", ""] if drawn else [f"({words}: {NOT_YET}.)", ""]
