"""The books: no outcome is lost, none is counted twice, and in the end nothing is held."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from pgqueue import outcome
from pgqueue.outcome import Doubtful, Ephemeral, Lost, Settled, Succeeded, Unsuccessful
from pgqueue.worker.ledger import ASK_AGAIN, Ledger
from pgqueue.worker.parts import Attempt
from tests.unit.claims import claimed_job

if TYPE_CHECKING:
    from pgqueue.outcome import Outcome
    from pgqueue.store import Verdict
    from pgqueue.tasks import Task

Key = tuple[int, int]


def attempt(id_: int, lease: int = 1, **changes: Any) -> Attempt:
    return Attempt(claimed_job(id=id_, lease=lease, **changes), cast("Task[..., object]", None))


def holding(*ids: int) -> Ledger:
    ledger = Ledger()
    for id_ in ids:
        ledger.hold(attempt(id_))
    return ledger


def failed(id_: int, lease: int = 1) -> Unsuccessful:
    return Unsuccessful(id_, lease, "dead", ending="dead")


def test_a_held_job_runs_until_it_has_an_outcome() -> None:
    ledger = holding(1, 2)
    assert [held.job.id for held in ledger.running()] == [1, 2]
    assert ledger.owe(Succeeded(1, 1, None))
    assert [held.job.id for held in ledger.running()] == [2]
    assert not ledger.quiet()


def test_a_confirmed_outcome_is_struck_with_its_job() -> None:
    ledger = holding(1)
    ledger.owe(Succeeded(1, 1, None))
    batch = ledger.batch(10)
    assert batch == [Succeeded(1, 1, None)]
    assert ledger.confirmed(batch, [1]) == []
    assert ledger.quiet()
    assert ledger.batch(10) == []


def test_without_an_answer_the_same_outcomes_are_sent_again() -> None:
    ledger = holding(1)
    ledger.owe(Succeeded(1, 1, None))
    assert ledger.batch(10) == ledger.batch(10) == [Succeeded(1, 1, None)]


def test_what_was_not_confirmed_is_in_question_and_not_sent_before_the_answer() -> None:
    ledger = holding(1, 2)
    ledger.owe(Succeeded(1, 1, None))
    ledger.owe(Succeeded(2, 1, None))
    assert ledger.confirmed(ledger.batch(10), [2]) == []
    assert ledger.batch(10) == []
    assert ledger.questions(100.0, 10) == [(1, 1)]
    assert ledger.next_question() == 0.0
    assert ledger.answered((1, 1), "mine", 100.0)
    assert ledger.batch(10) == [Succeeded(1, 1, None)]
    assert ledger.next_question() is None


def test_a_row_that_is_locked_is_asked_about_again_a_little_later() -> None:
    ledger = holding(1)
    ledger.owe(Succeeded(1, 1, None))
    ledger.confirmed(ledger.batch(10), [])
    assert ledger.answered((1, 1), "busy", 50.0)
    assert ledger.questions(50.0 + ASK_AGAIN / 2, 10) == []
    assert ledger.next_question() == 50.0 + ASK_AGAIN
    assert ledger.questions(50.0 + ASK_AGAIN, 10) == [(1, 1)]


@pytest.mark.parametrize(("verdict", "kept"), [("recorded", True), ("lost", False)])
def test_an_outcome_that_the_table_has_or_refuses_is_dropped(verdict: Verdict, kept: bool) -> None:
    ledger = holding(1)
    ledger.owe(failed(1))
    ledger.confirmed(ledger.batch(10), [])
    assert ledger.answered((1, 1), verdict, 0.0) is kept
    assert ledger.quiet()


def test_an_ephemeral_job_that_is_gone_was_ours_only_if_the_answer_was_lost() -> None:
    for lost in (True, False):
        ledger = holding(1, 2)
        ledger.owe(Ephemeral(1, 1, None))
        ledger.owe(Succeeded(2, 1, None))
        if lost:
            ledger.unanswered()
        ledger.confirmed(ledger.batch(10), [])
        assert ledger.questions(0.0, 10) == [(1, 1), (2, 1)]
        assert ledger.answered((1, 1), "gone", 0.0) is lost
        assert ledger.answered((2, 1), "gone", 0.0) is False
        assert ledger.quiet()
        assert ledger._unanswered == set()


def test_an_answer_that_came_in_the_end_leaves_nothing_unanswered() -> None:
    ledger = holding(1)
    ledger.owe(Ephemeral(1, 1, None))
    ledger.unanswered()
    ledger.confirmed(ledger.batch(10), [1])
    assert ledger.quiet()
    assert ledger._unanswered == set()


@pytest.mark.parametrize("ephemeral", [True, False])
def test_a_commit_in_doubt_of_an_ephemeral_job_that_is_gone_took_place(ephemeral: bool) -> None:
    ledger = Ledger()
    task = cast("Task[..., object]", SimpleNamespace(ephemeral=ephemeral))
    ledger.hold(Attempt(claimed_job(id=1, lease=1), task))
    ledger.owe(Doubtful(1, 1, failed(1)))
    assert ledger.answered((1, 1), "gone", 0.0) is ephemeral
    assert ledger.quiet()


def test_a_commit_in_doubt_is_never_sent_before_the_table_was_asked() -> None:
    ledger = holding(1)
    assert ledger.owe(Doubtful(1, 1, failed(1)))
    assert ledger.batch(10) == []
    assert ledger.running() == []
    assert not ledger.quiet()
    ledger.answered((1, 1), "busy", 0.0)
    assert ledger.batch(10) == []
    ledger.answered((1, 1), "mine", 1.0)
    assert ledger.batch(10) == [failed(1)]


def test_a_commit_in_doubt_that_the_table_has_is_settled() -> None:
    ledger = holding(1)
    ledger.owe(Doubtful(1, 1, failed(1)))
    assert ledger.answered((1, 1), "succeeded", 0.0)
    assert ledger.quiet()
    assert ledger.batch(10) == []


def test_a_handler_that_settled_itself_leaves_nothing_to_write() -> None:
    ledger = holding(1)
    assert ledger.owe(Settled(1, 1))
    assert ledger.quiet()


def test_a_lost_lease_is_dropped_and_told() -> None:
    ledger = holding(1)
    assert not ledger.owe(Lost(1, 1))
    assert ledger.quiet()


def test_two_leases_of_one_job_are_two_things() -> None:
    ledger = Ledger()
    ledger.hold(attempt(1, lease=1))
    ledger.hold(attempt(1, lease=3))
    ledger.owe(Succeeded(1, 1, None))
    assert [held.job.lease for held in ledger.running()] == [3]
    assert ledger.unknown((1, 5))
    assert not ledger.unknown((1, 3))


def test_what_is_released_without_being_held_is_known_until_it_is_recorded() -> None:
    ledger = Ledger()
    assert ledger.unknown((1, 1))
    released = outcome.release(claimed_job(id=1, lease=1))
    ledger.owe(released)
    assert not ledger.unknown((1, 1))
    assert not ledger.quiet()
    assert ledger.confirmed(ledger.batch(10), [1]) == [(released, None)]
    assert ledger.unknown((1, 1))
    assert ledger.quiet()


def test_the_running_suspect_makes_way_when_its_outcome_is_confirmed() -> None:
    ledger = Ledger()
    ledger.suspect = attempt(1, suspect=True)
    ledger.hold(ledger.suspect)
    ledger.owe(failed(1))
    assert ledger.suspect is not None
    ledger.confirmed(ledger.batch(10), [1])
    assert ledger.suspect is None


def test_a_batch_is_no_larger_than_asked_for() -> None:
    ledger = holding(*range(1, 9))
    for id_ in range(1, 9):
        ledger.owe(Succeeded(id_, 1, None))
    assert [done.id for done in ledger.batch(3)] == [1, 2, 3]
    ledger.confirmed(ledger.batch(3), [2, 3])
    assert [done.id for done in ledger.batch(3)] == [4, 5, 6]


def test_a_refused_outcome_is_replaced() -> None:
    ledger = holding(1)
    bad = Succeeded(1, 1, "x")
    ledger.owe(bad)
    ledger.replace(bad, failed(1))
    assert ledger.batch(10) == [failed(1)]


class Books(RuleBasedStateMachine):
    """A ledger beside a model of the table: rows may be locked, leases lost, replies too."""

    @initialize()
    def start(self) -> None:
        self.ledger = Ledger()
        self.clock = 0.0
        self.next_id = 1
        self.owed: set[Key] = set()
        self.table: dict[Key, str] = {}  # running, recorded, or lost
        self.locked: set[Key] = set()
        self.counted: list[Key] = []

    def keys(self, *states: str) -> list[Key]:
        return sorted(key for key, state in self.table.items() if state in states)

    @rule(known=st.booleans())
    def claim(self, known: bool) -> None:
        key = (self.next_id, 1)
        self.next_id += 1
        self.table[key] = "running"
        if known:
            self.ledger.hold(attempt(*key))
        else:
            self.owed.add(key)
            self.ledger.owe(outcome.release(claimed_job(id=key[0], lease=1)))

    @rule(kind=st.sampled_from(["succeeded", "failed", "settled", "doubtful", "lost"]))
    def end(self, kind: str) -> None:
        running = [held.key for held in self.ledger.running()]
        if not running:
            return
        key = running[0]
        self.owed.add(key)
        if kind == "succeeded":
            self.ledger.owe(Succeeded(*key, None))
        elif kind == "failed":
            self.ledger.owe(failed(*key))
        elif kind == "doubtful":
            self.ledger.owe(Doubtful(*key, failed(*key)))
        elif kind == "lost" or self.table[key] == "lost":
            self.table[key] = "lost"
            assert not self.ledger.owe(Lost(*key))
        else:
            self.table[key] = "recorded"
            self.ledger.owe(Settled(*key))

    @rule()
    def commit_what_was_in_doubt(self) -> None:
        for key in self.ledger._doubtful:
            if self.table[key] == "running":
                self.table[key] = "recorded"
                return

    @rule(answered=st.booleans(), limit=st.integers(1, 4))
    def send(self, answered: bool, limit: int) -> None:
        sent = self.ledger.batch(limit)
        recorded = []
        for done in sent:
            key = (done.id, done.lease)
            if self.table[key] == "running" and key not in self.locked:
                self.table[key] = "recorded"
                recorded.append(done.id)
        if answered:
            before = self.ledger.held.keys() - set()
            told = self.ledger.confirmed(sent, recorded)
            struck = before - self.ledger.held.keys()
            assert {id_ for id_, _ in struck} <= set(recorded)
            assert all(done.id in recorded for done, _ in told)
            assert all(attempt is None or attempt.key in struck for _, attempt in told)
            self.counted += struck

    @rule()
    def ask(self) -> None:
        for key in self.ledger.questions(self.clock, 3):
            state = self.table[key]
            verdict = "busy" if key in self.locked else "mine" if state == "running" else state
            self.ledger.answered(key, cast("Verdict", verdict), self.clock)

    @rule(seconds=st.sampled_from([0.1, 1.0]))
    def wait(self, seconds: float) -> None:
        self.clock += seconds

    @rule(index=st.integers(0, 5))
    def lock_or_unlock(self, index: int) -> None:
        for key in self.keys("running")[index : index + 1]:
            self.locked ^= {key}

    @rule(index=st.integers(0, 5))
    def lose(self, index: int) -> None:
        for key in self.keys("running")[index : index + 1]:
            self.table[key] = "lost"

    def teardown(self) -> None:
        """When every handler ended and every row is free, a few exchanges clear the books."""
        if not hasattr(self, "table"):
            return
        self.locked.clear()
        while self.ledger.running():
            self.end("failed")
        for _ in range(len(self.table) + 3):
            self.wait(1.0)
            self.ask()
            self.send(answered=True, limit=4)
        assert self.ledger.quiet()
        assert not self.ledger.held
        assert not self.ledger._doubtful
        assert self.ledger.next_question() is None
        assert all(self.table[key] != "running" for key in self.owed)
        assert len(self.counted) == len(set(self.counted))


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


Told = list[tuple[object, Attempt | None]]


def telling(*ids: int, successes: bool = True) -> tuple[Ledger, Told]:
    told: Told = []
    ledger = Ledger(lambda done, of: told.append((done, of)), successes=successes)
    for id_ in ids:
        ledger.hold(attempt(id_))
    return ledger, told


def test_what_the_table_confirmed_is_told_once_with_its_attempt() -> None:
    ledger, told = telling(1, 2, 3)
    one, two, three = (ledger.held[id_, 1] for id_ in (1, 2, 3))
    for done in (Succeeded(1, 1, None), failed(2), Settled(3, 1), failed(4)):
        ledger.owe(done)
    assert told == [(Settled(3, 1), three)]
    ledger.confirmed(ledger.batch(10), [1, 2, 4])
    ledger.confirmed(ledger.batch(10), [1, 2, 4])
    assert told[1:] == [(Succeeded(1, 1, None), one), (failed(2), two), (failed(4), None)]


def test_successes_are_told_only_to_who_wants_them() -> None:
    ledger, told = telling(1, 2, 3, successes=False)
    for done in (Succeeded(1, 1, None), Settled(3, 1), failed(2)):
        ledger.owe(done)
    ledger.confirmed(ledger.batch(10), [1, 2])
    assert [done for done, _ in told] == [failed(2)]


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("succeeded", [Settled(1, 1), Settled(2, 1), Succeeded(3, 1, "7")]),
        ("recorded", [failed(2), Succeeded(3, 1, "7")]),
        ("cancelled", [outcome.unwanted(failed(2)), Succeeded(3, 1, "7")]),
        ("lost", []),
        ("mine", []),
        ("busy", []),
    ],
)
def test_what_was_in_question_is_told_as_the_table_has_it(
    verdict: Verdict, expected: list[Outcome]
) -> None:
    """A handler that was written off may have committed before its failure was sent."""
    ledger, told = telling(1, 2, 3)
    attempts = dict(ledger.held)
    ledger.owe(Doubtful(1, 1, failed(1)))
    ledger.owe(failed(2))
    ledger.owe(Succeeded(3, 1, "7"))
    ledger.confirmed(ledger.batch(10), [])
    for key in ledger.questions(1.0, 10):
        ledger.answered(key, verdict, 1.0)
    assert told == [(done, attempts[done.id, done.lease]) for done in expected]


def test_a_failure_that_the_table_made_a_cancel_is_told_as_one() -> None:
    ledger, told = telling(1, 2)
    ledger.owe(failed(1))
    ledger.owe(failed(2))
    batch = ledger.batch(10)
    confirmed = ledger.confirmed(batch, [1, 2], [2])
    assert [done for done, _ in confirmed] == [failed(1), outcome.unwanted(failed(2))]
    assert told == confirmed


def test_an_outcome_of_a_lost_lease_is_told_to_nobody() -> None:
    ledger, told = telling(1)
    assert not ledger.owe(Lost(1, 1))
    assert told == []
