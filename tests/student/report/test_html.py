"""The HTML report: its figures, every name escaped, and nothing fetched from anywhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from student.console import quiet
from student.data.image_set import ImageSet, load_image_set
from student.data.split import VALIDATION
from student.evaluation.calibration import calibrate
from student.evaluation.results import AccuracyCount, Experiment, MethodResult, Purchase
from student.options import Options
from student.report.break_even import Economics
from student.report.calibration import draw_reliability
from student.report.html.figures import confusion
from student.report.html.page import html_report
from student.training.loop import _row
from student.training.metrics import Score
from student.training.stage import Stage
from student.training.train import Trained
from tests.support.pictures import write_picture
from tests.support.small_grid import settings

DOMAINS, CLASSES = ("photo", "<b>old</b> & $x_^$"), ("bird", "cat <script>")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("html") / "pets"
    # A name with a slash cannot be a folder's.
    domains = ("photo", DOMAINS[1].replace("/", "_"))
    for seed, place in enumerate(
        (domain, name.replace("/", "_"), number)
        for domain in domains
        for name in CLASSES
        for number in range(5)
    ):
        write_picture(root / place[0] / place[1] / f"{place[2]}.png", seed)
    return root


@pytest.fixture(scope="module")
def options(data: Path) -> Options:
    return settings(data, target_domain=[DOMAINS[1].replace("/", "_")])


@pytest.fixture(scope="module")
def scanned(options: Options) -> ImageSet:
    return load_image_set(options.data, options.run, quiet())


def result(method: str, scanned: ImageSet, *, wrong: int) -> MethodResult:
    """Every answer is right but for the first `wrong` of the held-out domain."""
    (split,) = scanned.splits
    parts = {VALIDATION: split.validation, **split.tests}
    labels = {
        part: np.array([scanned.label(item) for item in items]) for part, items in parts.items()
    }
    answers = {part: found.copy() for part, found in labels.items()}
    (target,) = split.targets
    answers[target][:wrong] = 1 - answers[target][:wrong]
    logits = {
        part: 4.0 * torch.nn.functional.one_hot(torch.from_numpy(found), 2).float()
        for part, found in answers.items()
    }
    stages = (
        Stage(name="align", trains="projection", steps=11, lr=0.1),
        Stage(name="distill", trains="backbone", steps=11, lr=0.1),
    )
    history = [
        _row(stage, step, 1.0 / (step + 1), Score(accuracy=0.5, loss=1.0))
        for stage in stages
        for step in (0, 10)
    ]
    trained = Trained(
        student=cast(Any, None),
        history=history,
        chosen=cast(Any, None),
        seconds=1.0,
        threads=1,
    )
    return MethodResult(
        method=method,
        trained=trained,
        scores={
            part: AccuracyCount(correct=int((answers[part] == found).sum()), images=len(found))
            for part, found in labels.items()
        },
        answers=answers,
        calibration=calibrate(logits, labels),
    )


@pytest.fixture(scope="module")
def page(options: Options, scanned: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> str:
    (split,) = scanned.splits
    experiment = Experiment(
        sources=split.sources,
        targets=split.targets,
        num_train=8,
        num_bought=8,
        results=(result("kd", scanned, wrong=3), result("erm", scanned, wrong=1)),
    )
    diagram = tmp_path_factory.mktemp("diagram") / "calibration.png"
    draw_reliability(diagram, experiment)
    purchase = Purchase(
        run="run",
        model="clip <x>",
        fingerprint="sha256:0",
        units=1_234,
        cost_micro_usd=123_400,
        bought_now=4,
        already_paid=0,
        left_out=0,
        micro_usd_per_image=100,
        receipts_digest="0" * 64,
        vendor_milliseconds=None,
    )
    economics = Economics(
        parameters=1_000,
        student_milliseconds=1.0,
        vendor_milliseconds=None,
        micro_usd_per_image=100,
        cost_micro_usd=123_400,
        break_even=1_234,
    )
    return html_report(options, scanned, [experiment], purchase, economics, [diagram])


class Elements(HTMLParser):
    """The elements of a page, their attributes and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_has_the_figures_of_the_run(page: str) -> None:
    text = Elements(page).text
    assert "1,234" in text
    assert "$0.1234" in text
    assert "70.0 ±" in text  # the student: 7 of 10
    assert "90.0 ±" in text
    assert page.count("data:image/svg+xml;base64,") == 3


def test_names_are_shown_as_they_are_and_never_read_as_markup(page: str) -> None:
    elements = Elements(page)
    assert not any(tag == "script" for tag, _ in elements.found)
    assert "clip <x>" in elements.text
    assert "cat <script>" in elements.text
    assert "Held out: <b>old<" in elements.text


def test_nothing_is_fetched(page: str) -> None:
    for _, attributes in Elements(page).found:
        for name in ("src", "href", "xlink:href", "data"):
            value = attributes.get(name) or "#"
            assert value.startswith(("data:", "#")), value
    assert not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page


def test_the_hardest_images_are_those_that_most_methods_got_wrong(page: str) -> None:
    shown = [one for tag, one in Elements(page).found if tag == "img" and one.get("title")]
    assert len(shown) == 3  # wrong by the student
    first = page.index('class="mistakes"')
    item = page[first : page.index("</li>", first)]
    right, wrong = item.count("kd: "), item.count("erm: ")
    assert (right, wrong) == (1, 1)
    answers = re.findall(r"<b>(.*?)</b>.*?kd: (.*?)<br>erm: (.*?)</li>", page, re.DOTALL)
    assert answers[0][0] not in (answers[0][1].strip(), answers[0][2].strip())


def test_the_same_run_gives_the_same_page(
    options: Options, scanned: ImageSet, page: str, tmp_path: Path
) -> None:
    truth = np.array([0, 0, 1])
    assert confusion(truth, truth, CLASSES) == confusion(truth, truth, CLASSES)


def test_of_many_classes_the_matrix_shows_those_with_the_most_mistakes() -> None:
    classes = [f"class {number}" for number in range(40)]
    truth = np.arange(40)
    answers = truth.copy()
    answers[7] = 8
    drawn, shown = confusion(truth, answers, classes)
    assert shown == 30
    assert "<svg" in drawn
