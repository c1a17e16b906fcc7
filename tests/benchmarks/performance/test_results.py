"""The performance results: ratios, what is worse than before, and the page made from them."""

from __future__ import annotations

from benchmarks.performance.__main__ import PAGE, RESULTS
from benchmarks.performance.comparison import Better, Comparison, Subject, compare
from benchmarks.performance.page import rendered
from benchmarks.performance.results import fell, read_results
from benchmarks.performance.sections import SECTIONS


def _subject(better: Better = "higher", goal: float | None = None) -> Subject:
    return Subject(section="s", name="n", unit="u", peer="the peer", better=better, goal=goal)


def _comparison(*, ours: float, better: Better, goal: float | None = None) -> Comparison:
    return Comparison(subject=_subject(better, goal), ours=(ours,), peers=(1.0,))


def test_the_side_that_goes_first_changes_with_each_round_and_warm_up_does_not_count() -> None:
    calls: list[str] = []

    def ours() -> float:
        calls.append("ours")
        return float(len(calls))

    def peer() -> float:
        calls.append("peer")
        return 10.0

    found = compare(_subject(), ours, peer, rounds=3, warm_up=1)

    assert calls == ["ours", "peer", "peer", "ours", "ours", "peer", "peer", "ours"]
    assert found.ours == (4.0, 5.0, 8.0)
    assert found.ratio == 0.5


def test_a_goal_is_met_from_the_better_side() -> None:
    assert _comparison(ours=0.9, better="higher", goal=0.9).meets_goal
    assert not _comparison(ours=0.89, better="higher", goal=0.9).meets_goal
    assert _comparison(ours=1.1, better="lower", goal=1.15).meets_goal
    assert not _comparison(ours=1.2, better="lower", goal=1.15).meets_goal
    assert _comparison(ours=1.2, better="lower").meets_goal is None


def test_a_ratio_that_is_more_than_15_percent_worse_is_named() -> None:
    before = [_comparison(ours=1.0, better="higher").as_json()]
    assert list(fell([_comparison(ours=0.86, better="higher").as_json()], before)) == []
    (line,) = fell([_comparison(ours=0.84, better="higher").as_json()], before)
    assert "0.84 times the peer, was 1.00" in line
    slower = [_comparison(ours=1.0, better="lower").as_json()]
    assert list(fell([_comparison(ours=1.14, better="lower").as_json()], slower)) == []
    assert list(fell([_comparison(ours=1.16, better="lower").as_json()], slower))


def test_the_committed_page_is_the_one_that_the_committed_results_give() -> None:
    text = PAGE.read_text()
    assert rendered(text, read_results(RESULTS)) == text
    for section in SECTIONS:
        assert f"<!-- measured: {section} -->" in text
