"""The framework's decorator, whichever package it is in."""

from __future__ import annotations

from tests.contrib.django.project import HAS_FRAMEWORK

if HAS_FRAMEWORK:
    from django.tasks import task
else:
    from django_tasks import task

__all__ = ["task"]
