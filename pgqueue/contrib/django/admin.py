"""Jobs and workers in Django's admin: look, requeue, cancel, delete, each with its permission.

The tables may hold millions of rows: counts stop at 10,000, choices of the filters come from the
newest jobs, and lists are in the order of the primary key.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import formats, timezone
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join

from pgqueue.actions import REQUEUEABLE
from pgqueue.contrib.django.application import app_for
from pgqueue.contrib.django.models import Attempt, Job, Progress, Worker
from pgqueue.job import FINAL_STATES
from pgqueue.operations import ACTOR_LENGTH
from pgqueue.redaction import MARK, Redaction
from pgqueue.views import COUNT_CAP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.http import HttpRequest

    from pgqueue.actions import Report
    from pgqueue.operations import Operator

NEWEST: Final = 1000
"""Jobs whose queues and tasks the filters offer."""
VERBS: Final = {
    "requeue": REQUEUEABLE,
    "cancel": ("ready", "blocked", "running"),
    "delete": FINAL_STATES,
}
"""What can be done, and in which states."""
REFUSALS_SHOWN: Final = 5


class CappedPaginator(Paginator):
    """Counts no further than 10,000: a look at a large table must not cost a walk through it."""

    @cached_property
    def count(self) -> int:
        """The rows, or 10,000 when there are more."""
        return int(self.object_list.order_by("-pk")[:COUNT_CAP].count())


class _NewestNames(admin.SimpleListFilter):
    """Offers the names in one column of the newest jobs."""

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        """The choices, and the one that was made."""
        newest = Job.objects.order_by("-pk").values_list(self.parameter_name, flat=True)
        names = {*newest[:NEWEST], *([self.value()] if self.value() else [])}
        return [(name, name) for name in sorted(names)]

    def queryset(self, _request: HttpRequest, queryset: Any) -> Any:
        """The jobs of the choice."""
        return queryset.filter(**{self.parameter_name: self.value()}) if self.value() else queryset


class QueueFilter(_NewestNames):
    """Jobs of one queue."""

    title = parameter_name = "queue"


class TaskFilter(_NewestNames):
    """Jobs of one task."""

    title = parameter_name = "task"


class ReadOnlyAdmin(admin.ModelAdmin):
    """Shows rows and edits none."""

    paginator = CappedPaginator
    show_full_result_count = False
    ordering = ("-pk",)
    list_per_page = 50

    def has_add_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        """Nobody adds a row here."""
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        """Nobody edits a row here."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        """Nobody deletes a row past pgqueue's own operations."""
        return False


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Jobs: the list, one job with its attempts, and what an operator does."""

    change_form_template = "admin/pgqueue/job/change_form.html"
    list_display = ("id", "shown_state", "task", "queue", "priority", "attempts", "created_at")
    list_filter = ("state", QueueFilter, TaskFilter)
    search_fields = ("id", "task", "key")
    search_help_text = "An id, the start of a task's name, or a whole key"
    sortable_by = ()
    actions = ("requeue_jobs", "cancel_jobs", "delete_jobs")
    fieldsets = (
        (
            None,
            {"fields": ("id", "shown_state", "progress", "task", "queue", "priority", "attempts")},
        ),
        ("Arguments and result", {"fields": ("call", "pretty_result", "pretty_meta")}),
        (
            "Times",
            {
                "fields": (
                    *("created_at", "run_at", "started_at", "finished_at", "expires_at"),
                    *("cancel_requested_at", "timeout"),
                )
            },
        ),
        ("Inside", {"fields": ("key", "key_scope", "crash_count", "lease", "worker_id")}),
        ("Attempts that did not succeed", {"fields": ("history",)}),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """The jobs; what may be large is read for one job only."""
        return super().get_queryset(request).defer("args", "meta", "result")

    def get_readonly_fields(self, _request: HttpRequest, _obj: Any = None) -> list[str]:
        """All of them."""
        return [name for _, options in self.fieldsets for name in options["fields"]]

    def get_search_results(
        self, _request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Jobs with this id, this key, or a task whose name starts so."""
        term = search_term.strip()
        if not term:
            return queryset, False
        which = Q(task__startswith=term) | Q(key=term)
        if term.isascii() and term.isdecimal() and len(term) <= len(str(2**62)):
            which |= Q(pk=int(term))
        return queryset.filter(which), False

    # -- columns -----------------------------------------------------------------------------

    @admin.display(description="state")
    def shown_state(self, job: Job) -> str:
        """The state as people read it."""
        return job.shown_state

    @admin.display(description="attempts")
    def attempts(self, job: Job) -> str:
        """How many there were, of how many there may be."""
        return f"{job.attempt}/{job.max_attempts}"

    @admin.display(description="progress")
    def progress(self, job: Job) -> str:
        """What its handler said last; reload the page to see it move."""
        said = Progress.objects.filter(pk=job.pk).first()
        if said is None:
            return "-"
        at = formats.date_format(timezone.localtime(said.reported_at), "DATETIME_FORMAT")
        return f"{said}, {said.message} ({at})" if said.message else f"{said} ({at})"

    @admin.display(description="arguments")
    def call(self, job: Job) -> str:
        """The arguments, without those that nobody is shown."""
        return _pretty(Redaction.marked(job.meta).hide(job.args))

    @admin.display(description="result")
    def pretty_result(self, job: Job) -> str:
        """The result."""
        return "-" if job.result is None else _pretty(job.result)

    @admin.display(description="meta")
    def pretty_meta(self, job: Job) -> str:
        """Meta, without what is pgqueue's own."""
        return _pretty({name: value for name, value in job.meta.items() if name != MARK})

    @admin.display(description="history")
    def history(self, job: Job) -> str:
        """The attempts that did not succeed, with their tracebacks, and the requeues."""
        attempts = Attempt.objects.filter(job_id=job.pk).order_by("lease")
        rows = (
            (
                *(each.attempt, each.outcome, each.finished_at),
                f"by {each.actor}" if each.actor else f"on {each.worker or '-'}",
                *(each.error_type or "", each.message or "", each.traceback or ""),
            )
            for each in attempts
        )
        shown = format_html_join(
            "",
            "<details open><summary>attempt {}: {}, {} {}</summary>"
            '<p><strong>{}</strong> {}</p><pre style="white-space: pre-wrap">{}</pre></details>',
            rows,
        )
        return cast("str", shown or "none")

    # -- actions -----------------------------------------------------------------------------

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        """Whether the user may requeue jobs."""
        return self._may(request, "requeue")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether the user may cancel jobs."""
        return self._may(request, "cancel")

    def has_remove_permission(self, request: HttpRequest) -> bool:
        """Whether the user may delete jobs that have ended."""
        return self._may(request, "delete")

    @admin.action(description="Requeue: run again, with all attempts", permissions=["requeue"])
    def requeue_jobs(self, request: HttpRequest, queryset: Any) -> None:
        """Make ended jobs ready again."""
        self._act(request, "requeue", _ids(queryset))

    @admin.action(description="Cancel", permissions=["cancel"])
    def cancel_jobs(self, request: HttpRequest, queryset: Any) -> None:
        """Cancel jobs that have not ended."""
        self._act(request, "cancel", _ids(queryset))

    @admin.action(description="Delete those that have ended", permissions=["remove"])
    def delete_jobs(self, request: HttpRequest, queryset: Any) -> Any:
        """Delete ended jobs, once the user has said so twice."""
        if "confirmed" not in request.POST:
            return self._ask(request, queryset.count())
        self._act(request, "delete", _ids(queryset))
        return None

    def get_urls(self) -> list[Any]:
        """The pages, and an address for each button of a job's page."""
        act = self.admin_site.admin_view(self._act_on_one)
        name = "pgqueue_job_act"
        return [path("<int:job_id>/act/<str:verb>/", act, name=name), *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], **kwargs: Any
    ) -> Any:
        """A job's page, with a button for each thing that this user may do to it now."""
        job = kwargs["obj"]
        context["verbs"] = [
            (verb, reverse("admin:pgqueue_job_act", args=[job.pk, verb]))
            for verb, states in VERBS.items()
            if job.state in states and self._may(request, verb)
        ]
        return super().render_change_form(request, context, **kwargs)

    def _act_on_one(self, request: HttpRequest, job_id: int, verb: str) -> Any:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if verb not in VERBS or not self._may(request, verb):
            raise PermissionDenied
        if verb == "delete" and "confirmed" not in request.POST:
            return self._ask(request, 1)
        report = self._act(request, verb, [job_id])
        if verb == "delete" and report.done:
            return HttpResponseRedirect(reverse("admin:pgqueue_job_changelist"))
        return HttpResponseRedirect(reverse("admin:pgqueue_job_change", args=[job_id]))

    def _ask(self, request: HttpRequest, count: int) -> Any:
        """A page that asks; its answer repeats the request, confirmed."""
        fields = ((name, value) for name, values in request.POST.lists() for value in values)
        context = {
            **self.admin_site.each_context(request),
            "title": "Delete jobs",
            "count": count,
            "fields": [pair for pair in fields if pair[0] != "csrfmiddlewaretoken"],
        }
        template = "admin/pgqueue/job/delete_confirmation.html"
        return TemplateResponse(request, template, context)

    def _may(self, request: HttpRequest, verb: str) -> bool:
        return bool(request.user.has_perm(f"pgqueue.{verb}_job"))

    def _act(self, request: HttpRequest, verb: str, ids: Iterable[int]) -> Report:
        """Do it, on a connection of pgqueue's own: under its locks, committed when this returns."""
        operator: Operator = app_for().operator
        who = {"by": request.user.get_username()[:ACTOR_LENGTH]} if verb == "requeue" else {}
        report: Report = getattr(operator, verb)(ids, **who)
        for job_id, word in report.done.items():
            self.log_change(request, Job(pk=job_id, task="-"), f"{word} (pgqueue)")
        _tell(request, report)
        return report


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Workers, read only."""

    list_display = ("name", "alive", "heartbeat_at", "started_at", "version", "pid", "threads")
    sortable_by = ()

    @admin.display(boolean=True)
    def alive(self, worker: Worker) -> bool:
        """Whether it sends heartbeats."""
        return worker.alive


def _ids(queryset: Any) -> Iterable[int]:
    return cast("Iterable[int]", list(queryset.values_list("pk", flat=True)))


def _pretty(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return str(format_html('<pre style="white-space: pre-wrap">{}</pre>', text))


def _tell(request: HttpRequest, report: Report) -> None:
    words = list(report.done.values())
    for word in sorted(set(words)):
        said = "asked to end" if word == "requested" else word
        messages.success(request, f"{words.count(word)} of the jobs: {said}")
    refused = list(report.refused.values())
    for error in refused[:REFUSALS_SHOWN]:
        messages.warning(request, str(error))
    if len(refused) > REFUSALS_SHOWN:
        messages.warning(request, f"{len(refused) - REFUSALS_SHOWN} more were refused")
