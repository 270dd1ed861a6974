"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig


class PgQueueConfig(AppConfig):
    """Registers the models and the system checks."""

    name = "pgqueue.contrib.django"
    label = "pgqueue"
    verbose_name = "pgqueue"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from pgqueue.contrib.django import checks  # noqa: PLC0415 - when apps are ready

        checks.register()
