"""An order, and the receipt that a task writes."""

from django.db import models


class Order(models.Model):
    """What a customer ordered."""

    item = models.CharField(max_length=100)
    receipt = models.TextField(blank=True)
    task_id = models.CharField(max_length=20, blank=True)

    def __str__(self) -> str:
        return f"order {self.pk}: {self.item}"
