"""Something that a transaction writes besides a job."""

from __future__ import annotations

from django.db import models


class Item(models.Model):
    """A thing in the store."""

    name = models.TextField()

    class Meta:
        app_label = "store"

    def __str__(self) -> str:
        return str(self.name)
