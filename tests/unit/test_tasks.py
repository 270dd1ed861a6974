"""Registration, names, and what a call becomes; no database is touched."""

from __future__ import annotations

import functools
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pgqueue.app import PgQueue
from pgqueue.context import JobContext
from pgqueue.errors import ConfigError, InvalidJob, InvalidName, UnknownTask
from pgqueue.job import NewJob
from pgqueue.retry import DEFAULT_RETRY, fixed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from pgqueue.context import JobContext as Context


def plain(photo_id: int, size: str = "small", *, crop: bool = False) -> str:
    """Make a thumbnail."""
    return f"{photo_id} {size} {crop}"


async def coroutine(photo_id: int) -> int:
    return photo_id


def with_context(context: JobContext, order_id: int) -> tuple[int, int]:
    return context.id, order_id


def with_options(subject: str, **options: Any) -> dict[str, Any]:
    return {"subject": subject, **options}


@pytest.fixture
def app() -> PgQueue:
    return PgQueue("postgresql://nobody@nowhere.invalid/none")


def context() -> JobContext:
    return JobContext(id=7, task="t", queue="q", attempt=1, max_attempts=8, lease=1)


def test_a_task_is_named_by_module_and_function(app: PgQueue) -> None:
    task = app.task(plain)
    assert task.name == f"{__name__}.plain"
    assert app.tasks == {task.name: task}


def test_a_task_without_options_has_the_documented_defaults(app: PgQueue) -> None:
    task = app.task(plain)
    assert (task.queue, task.priority, task.max_attempts, task.timeout, task.version) == (
        "default",
        0,
        8,
        None,
        1,
    )
    assert (task.retry, task.dead_on, task.transactional) == (DEFAULT_RETRY, (), False)


def test_options_of_the_decorator_become_the_job_s_own(app: PgQueue) -> None:
    rule = fixed(2)
    task = app.task(
        name="thumbs",
        queue="media",
        priority=5,
        max_attempts=3,
        timeout=30,
        retry=rule,
        dead_on=(KeyError,),
        transactional=True,
        version=2,
    )(plain)
    assert (task.retry, task.dead_on, task.transactional) == (rule, (KeyError,), True)
    assert task.job(1) == NewJob(
        task="thumbs",
        queue="media",
        priority=5,
        max_attempts=3,
        timeout=30,
        version=2,
        args={"photo_id": 1},
    )


def test_arguments_are_stored_by_name_and_defaults_are_not(app: PgQueue) -> None:
    task = app.task(plain)
    assert task.job(1, "large").args == {"photo_id": 1, "size": "large"}
    assert task.job(photo_id=1, crop=True).args == {"photo_id": 1, "crop": True}


def test_a_handler_with_keyword_arguments_gets_back_what_was_stored(app: PgQueue) -> None:
    task = app.task(with_options)
    args = task.job("hello", subject_line="x", options=1).args
    assert args == {"subject": "hello", "subject_line": "x", "options": 1}
    assert task.call(context(), dict(args)) == args


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing a required argument: 'photo_id'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"photo_id": 1}, "multiple values for argument 'photo_id'"),
        ((1,), {"colour": "red"}, "unexpected keyword argument 'colour'"),
    ],
)
def test_a_call_that_python_would_refuse_is_a_type_error(
    app: PgQueue, args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    task = app.task(plain)
    with pytest.raises(TypeError, match=words) as caught:
        task.enqueue(*args, **kwargs)
    assert task.name in str(caught.value)


def test_calling_a_task_runs_its_function(app: PgQueue) -> None:
    task = app.task(plain)
    assert task(3, crop=True) == "3 small True"
    assert task.__doc__ == "Make a thumbnail."
    assert app.task(with_context)(context(), 4) == (7, 4)


def test_a_worker_calls_a_task_with_its_stored_arguments(app: PgQueue) -> None:
    assert app.task(plain).call(context(), {"photo_id": 3}) == "3 small False"


def test_a_handler_that_wants_the_context_gets_it_first(app: PgQueue) -> None:
    task = app.task(with_context)
    assert task.takes_context
    assert task.job(5).args == {"order_id": 5}
    assert task.job(order_id=5).args == {"order_id": 5}
    assert task.call(context(), {"order_id": 5}) == (7, 5)


def test_the_context_is_not_an_argument_of_enqueue(app: PgQueue) -> None:
    task: Any = app.task(with_context)
    with pytest.raises(TypeError, match="multiple values for argument 'context'"):
        task.job(5, context=1)


def renamed(context: Context, x: int) -> None: ...
def keyword_only(*, context: JobContext) -> None: ...
def second(x: int, context: JobContext) -> None: ...
def unannotated(context, x): ...  # type: ignore[no-untyped-def]
def other_text(context: NotImported) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(("function", "expected"), [(with_context, True), (unannotated, False)])
def test_the_context_is_recognized_by_the_annotation_of_the_first_parameter(
    app: PgQueue, function: Callable[..., Any], expected: bool
) -> None:
    assert app.task(name="t")(function).takes_context is expected


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (renamed, "'context' is annotated 'Context', which cannot be read"),
        (other_text, "'context' is annotated 'NotImported', which cannot be read"),
        (keyword_only, "'context' is annotated JobContext: only the first parameter can be"),
        (second, "'context' is annotated JobContext: only the first parameter can be"),
    ],
)
def test_an_annotation_that_a_worker_could_not_follow_is_refused_at_registration(
    app: PgQueue, function: Callable[..., Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        app.task(name="t")(function)
    assert app.tasks == {}


@pytest.mark.parametrize(
    "source",
    [
        "def f(context: JobContext): ...",
        "def f(c: 'pgqueue.JobContext'): ...",
        "import pgqueue.context\ndef f(c: pgqueue.context.JobContext): ...",
        "from pgqueue.context import JobContext as Ctx\ndef f(c: Ctx): ...",
    ],
)
def test_the_context_is_recognized_in_text_also_when_its_import_is_for_types_alone(
    app: PgQueue, source: str
) -> None:
    namespace: dict[str, Any] = {"__name__": "handlers"}
    exec(compile(source, "handlers.py", "exec", flags=annotations_flag()), namespace)
    assert app.task(namespace["f"]).takes_context


def annotations_flag() -> int:
    import __future__  # noqa: PLC0415 - the module, not the statement

    return __future__.annotations.compiler_flag


def test_coroutine_functions_are_async_also_behind_a_callable_object(app: PgQueue) -> None:
    class Mailer:
        async def __call__(self, to: str) -> None: ...

    assert app.task(coroutine).is_async
    assert app.task(name="mailer")(Mailer()).is_async
    assert app.task(name="partial")(functools.partial(coroutine, photo_id=1)).is_async
    assert not app.task(plain).is_async


def starred(*photo_ids: int) -> None: ...
def positional_only(photo_id: int, /) -> None: ...
def generator(n: int) -> Iterator[int]:
    yield n


async def async_generator(n: int) -> AsyncIterator[int]:
    yield n


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (starred, "parameter 'photo_ids' takes no argument by name"),
        (positional_only, "parameter 'photo_id' takes no argument by name"),
        (generator, "is a generator"),
        (async_generator, "is a generator"),
        (dict, "is not a function"),
        (42, "42 is not a function"),
        (lambda x: x, r"pass @app.task\(name=...\)"),
        (functools.partial(plain, 1), r"pass @app.task\(name=...\)"),
    ],
)
def test_what_a_worker_could_not_call_is_refused_at_registration(
    app: PgQueue, function: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        app.task(function)
    assert app.tasks == {}


def test_a_function_inside_a_function_needs_a_name(app: PgQueue) -> None:
    def inner() -> None: ...

    with pytest.raises(ConfigError, match="defined inside another function"):
        app.task(inner)
    assert app.task(name="inner")(inner).name == "inner"


def test_a_taken_name_is_refused_and_both_functions_are_named(app: PgQueue) -> None:
    app.task(name="mail")(plain)
    with pytest.raises(ConfigError, match=r"'mail' is taken by .*plain.*; .*coroutine.* needs"):
        app.task(name="mail")(coroutine)
    assert app.tasks["mail"].function is plain


def test_a_task_cannot_be_made_a_task_again(app: PgQueue) -> None:
    with pytest.raises(ConfigError, match="is a task already"):
        app.task(app.task(plain))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "a b"}, InvalidName),
        ({"name": ""}, InvalidName),
        ({"name": "x" * 129}, InvalidName),
        ({"queue": "drop table;"}, InvalidName),
        ({"priority": 101}, InvalidJob),
        ({"max_attempts": 0}, InvalidJob),
        ({"timeout": -1}, InvalidJob),
        ({"version": 0}, InvalidJob),
        ({"retry": 5}, ConfigError),
        ({"dead_on": (ValueError, "KeyError")}, ConfigError),
        ({"quue": "x"}, TypeError),
    ],
)
def test_a_wrong_option_is_refused_at_registration(
    app: PgQueue, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        app.task(**options)(plain)
    assert app.tasks == {}


def test_one_exception_class_serves_as_dead_on(app: PgQueue) -> None:
    options: dict[str, Any] = {"dead_on": KeyError}
    assert app.task(**options)(plain).dead_on == (KeyError,)


def test_using_overrides_the_defaults_of_the_task(app: PgQueue) -> None:
    task = app.task(queue="media", priority=1, timeout=30)(plain)
    job = task.using(queue="slow", delay=5, key="k", meta={"trace": "1"}).job(1)
    assert (job.queue, job.priority, job.timeout) == ("slow", 1, 30)
    assert (job.delay, job.key, job.meta) == (5, "k", {"trace": "1"})


def test_a_result_that_is_not_kept_may_have_any_annotation(app: PgQueue) -> None:
    def report() -> bytes: ...  # type: ignore[empty-body]

    def image() -> subprocess.Popen[bytes]: ...  # type: ignore[empty-body]

    app.task(name="report")(report)
    with pytest.raises(ConfigError, match="its result is annotated"):
        app.task(name="image")(image)
    assert app.task(name="image", result=False)(image).returns is None


def test_an_expires_at_takes_the_place_of_the_task_s_ttl(app: PgQueue) -> None:
    @app.task(name="fresh", ttl=timedelta(minutes=5))
    def fresh() -> None: ...

    assert fresh.job().ttl == timedelta(minutes=5)
    assert fresh.using(ttl=7).job().ttl == 7
    expires_at = datetime(2040, 1, 1, tzinfo=UTC)
    job = fresh.using(expires_at=expires_at).job()
    assert (job.ttl, job.expires_at) == (None, expires_at)


def test_none_in_using_is_the_task_s_default_but_for_the_timeout(app: PgQueue) -> None:
    task = app.task(queue="media", timeout=30)(plain)
    job = task.using(queue=None, timeout=None).job(1)
    assert (job.queue, job.timeout) == ("media", None)


def test_an_unknown_option_of_using_is_a_type_error(app: PgQueue) -> None:
    options: dict[str, Any] = {"qeue": "x"}
    with pytest.raises(TypeError, match=r"no option 'qeue'; it takes .*queue"):
        app.task(plain).using(**options)


def test_a_function_that_is_not_registered_is_an_unknown_task(app: PgQueue) -> None:
    other = PgQueue().task(coroutine)
    functions: tuple[Any, ...] = (plain, lambda: None, other, other.function)
    for function in functions:
        with pytest.raises(UnknownTask, match=r"is not a task of this app: put @app\.task"):
            app.enqueue(function)


def test_the_function_finds_the_task_it_was_registered_as(app: PgQueue) -> None:
    task = app.task(plain)
    assert app.find(plain) is task
    assert app.find(task) is task


def test_options_and_complete_jobs_do_not_mix(app: PgQueue) -> None:
    with pytest.raises(TypeError, match=r"using\(queue\) would be lost"):
        app.using(queue="x").enqueue_many([])


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.strip() + done.stderr.strip()


SCRIPT = textwrap.dedent("""
    from pgqueue.app import PgQueue
    app = PgQueue()

    @app.task
    def work(): ...

    print(*app.tasks)
""")


@pytest.mark.parametrize("command", [("shop.py",), ("-m", "shop"), ("-c", "import shop")])
def test_a_program_and_a_worker_agree_on_names(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "shop.py").write_text(SCRIPT)
    assert run(*command, cwd=tmp_path) == "shop.work"


@pytest.mark.parametrize("command", [("-m", "web"), ("-c", "import web.__main__")])
def test_a_package_run_with_m_agrees_too(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "__init__.py").touch()
    (tmp_path / "web" / "__main__.py").write_text(SCRIPT)
    assert run(*command, cwd=tmp_path) == "web.__main__.work"


def test_a_spawned_process_agrees_with_the_program_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SCRIPT + SPAWN)
    assert run("shop.py", cwd=tmp_path).split() == ["shop.work", "shop.work"]


SPAWN = textwrap.dedent("""
    import multiprocessing
    if __name__ == "__main__":
        process = multiprocessing.get_context("spawn").Process(target=print)
        process.start(); process.join()
""")


@pytest.mark.parametrize("name", ["my-script.py", "pkg/shop.py"])
def test_a_program_that_no_worker_could_import_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    (tmp_path / name).write_text(SCRIPT)
    answer = run(name, cwd=tmp_path)
    assert "a worker could not import work" in answer
    assert "python -m package.module" in answer


def test_an_interactive_session_is_told_to_use_a_module(tmp_path: Path) -> None:
    assert "an interactive session" in run("-c", SCRIPT, cwd=tmp_path)


def test_importing_tasks_imports_no_orm_no_migrations_and_no_cli(tmp_path: Path) -> None:
    code = "import sys, pgqueue.app; print(*{m.split('.')[0] for m in sys.modules})"
    imported = set(run("-c", code, cwd=tmp_path).split())
    assert "psycopg" in imported
    assert not imported & {"sqlalchemy", "alembic", "typer", "rich", "click"}
