"""The page that a worker shares with its supervisor."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pgqueue.worker import board as words
from pgqueue.worker.board import Board

LARGEST = 2**63 - 1


def test_a_started_job_stands_there_until_its_handler_ends() -> None:
    board = Board(3)
    first, second = board.started(LARGEST), board.started(7)
    assert board.running() == [7, LARGEST]
    board.ended(first)
    assert board.running() == [7]
    board.ended(second)
    assert board.running() == []
    board.close()


def test_what_ended_stands_there_until_many_more_have_ended() -> None:
    board = Board(2)
    board.ended(board.started(7))
    board.ended(board.started(LARGEST))
    assert board.ended_last() == [7, LARGEST]
    for job_id in range(10, 10 + words.ENDED):
        board.ended(board.started(job_id))
    assert board.ended_last() == list(range(10, 10 + words.ENDED))
    assert board.running() == []
    board.close()


def test_what_runs_in_a_process_of_its_own_stands_apart() -> None:
    board = Board(2)
    slot = board.started(LARGEST, apart=True)
    board.started(7)
    assert (board.running(), board.apart()) == ([7], [LARGEST])
    board.ended(slot)
    assert (board.running(), board.apart(), board.ended_last()) == ([7], [], [LARGEST])
    board.close()


def test_slots_are_used_again() -> None:
    board = Board(2)
    for job_id in range(1, 100):
        slot = board.started(job_id)
        assert board.running() == [job_id]
        board.ended(slot)
    board.close()


def test_fields_and_slots_do_not_meet() -> None:
    board = Board(2)
    fields = [words.READY, words.PROGRESS, words.WORKER, words.BEAT, words.BURIED, words.FENCED]
    fields.append(words.RETIRING)
    for value, field in enumerate(fields, start=100):
        board.put(field, value)
    board.started(5)
    board.started(6)
    assert [board.get(field) for field in fields] == list(range(100, 107))
    assert board.running() == [5, 6]
    board.close()


def test_what_a_process_wrote_is_there_after_it_was_killed() -> None:
    board = Board(4)
    program = (
        "import os, signal, sys\n"
        "from pgqueue.worker import board as words\n"
        "board = words.Board(4, int(sys.argv[1]))\n"
        "board.put(words.WORKER, 42)\n"
        "board.ended(board.started(1))\n"
        "board.started(2)\n"
        "board.started(3)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(board.fd)], pass_fds=[board.fd], check=False
    )
    assert killed.returncode == -9
    assert board.get(words.WORKER) == 42
    assert board.running() == [2, 3]
    assert board.ended_last() == [1]
    board.close()


def test_a_closed_board_gives_its_file_back() -> None:
    board = Board(1)
    fd = board.fd
    board.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
