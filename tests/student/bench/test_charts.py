"""The charts' axes."""

from student.bench.charts import ticks


def test_counts_that_differ_by_little_share_one_label() -> None:
    assert ticks([141, 148, 144, 30, 53, 254, 255]) == [30, 53, 141, 254]


def test_a_count_of_nothing_keeps_its_label_and_so_does_the_next() -> None:
    assert ticks([0, 30, 0]) == [0, 30]
