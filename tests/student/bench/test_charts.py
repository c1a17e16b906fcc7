"""The charts' axes."""

from pathlib import Path

from student.bench.charts import bars, ticks
from student.bench.series import parts, series
from tests.support.small_grid import row, run, settings


def test_counts_that_differ_by_little_share_one_label() -> None:
    assert ticks([141, 148, 144, 30, 53, 254, 255]) == [30, 53, 141, 254]


def test_zero_queries_and_the_next_count_keep_their_labels() -> None:
    assert ticks([0, 30, 0]) == [0, 30]


def test_a_domain_whose_name_looks_like_a_formula_is_drawn_as_it_is_called(tmp_path: Path) -> None:
    base, ours, erm = settings(Path("pets")), run("vl2v-adip-1q"), run("erm")
    rows = {result.id: result for result in (row(ours, base, d2=50), row(erm, base, d2=40))}
    lines = [series(each.method, [each], base, rows) for each in (ours, erm)]
    column = parts("cost_$_and_^$^", lambda item: item.targets)
    assert bars(tmp_path / "bars.png", lines[:1], lines[1], [column], title="above")
    assert (tmp_path / "bars.png").stat().st_size > 0


def test_seed_variation_is_shaded_where_it_is_known(tmp_path: Path) -> None:
    base, ours, erm = settings(Path("pets")), run("vl2v-adip-1q"), run("erm")
    rows = {result.id: result for result in (row(ours, base, d2=50), row(erm, base, d2=40))}
    first, second = (series(each.method, [each], base, rows) for each in (ours, erm))
    column = parts("d2", lambda item: item.targets)
    drawn = []
    for name, chance in (("1.png", {}), ("2.png", {"d3": 0.3}), ("3.png", {"d2": 0.3})):
        bars(tmp_path / name, [first], second, [column], title="above", chance=chance)
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]
