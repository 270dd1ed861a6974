"""Revision 0001 of pgqueue's schema, and the models that read it.

Django compares no fields of unmanaged models, so their keys are enough here.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations, models

from pgqueue.contrib.django.schema import Revision


class Migration(migrations.Migration):
    """The first."""

    initial = True
    dependencies: ClassVar[list[Any]] = []
    operations: ClassVar[list[Any]] = [
        Revision("base", "0001"),
        migrations.CreateModel(
            name="Job",
            fields=[("id", models.BigAutoField(primary_key=True, serialize=False))],
            options={
                "db_table": '"pgqueue"."jobs"',
                "managed": False,
                "default_permissions": ("view", "delete"),
                "permissions": (
                    ("requeue_job", "Can requeue job"),
                    ("cancel_job", "Can cancel job"),
                ),
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("job_id", models.BigIntegerField()),
                ("lease", models.BigIntegerField()),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "job_id",
                        "lease",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "db_table": '"pgqueue"."attempts"',
                "managed": False,
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Progress",
            fields=[("job_id", models.BigIntegerField(primary_key=True, serialize=False))],
            options={
                "db_table": '"pgqueue"."progress"',
                "managed": False,
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[("id", models.BigAutoField(primary_key=True, serialize=False))],
            options={
                "db_table": '"pgqueue"."workers"',
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
    ]
