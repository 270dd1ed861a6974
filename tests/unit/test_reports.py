"""What handlers say of their progress, on its way to the table."""

from __future__ import annotations

from pgqueue.worker.reports import Reports

ONE, TWO = (1, 7), (2, 9)


def said(reports: Reports, *keys: tuple[int, int]) -> list[tuple[int, float]]:
    return [(each.job_id, each.done) for each in reports.unwritten(keys or None)]


def test_the_last_word_counts_and_is_told_once() -> None:
    reports = Reports()
    assert not reports
    for done in range(100):
        reports.say(ONE, done, 100, None)
    reports.say(TWO, 5, None, "half way")
    assert reports
    assert said(reports) == [(1, 99), (2, 5)]
    reports.written(reports.unwritten())
    assert said(reports) == []
    reports.say(ONE, 100, 100, None)
    assert said(reports) == [(1, 100)]


def test_a_word_that_comes_while_one_is_written_is_not_lost() -> None:
    reports = Reports()
    reports.say(ONE, 1, None, None)
    under_way = reports.unwritten()
    reports.say(ONE, 2, None, None)
    reports.written(under_way)
    assert said(reports) == [(1, 2)]
    assert reports.unwritten()[0].sequence > under_way[0].sequence


def test_words_of_some_attempts_alone() -> None:
    reports = Reports()
    reports.say(ONE, 1, None, None)
    reports.say(TWO, 2, None, None)
    assert said(reports, TWO, (3, 3)) == [(2, 2)]


def test_what_the_table_knows_is_forgotten_also_when_it_came_late() -> None:
    reports = Reports()
    reports.say(ONE, 1, None, None)
    reports.written(reports.unwritten())
    assert not reports
    reports.say(ONE, 2, None, None)  # by a thread that outlives the job
    reports.written(reports.unwritten())
    assert not reports
