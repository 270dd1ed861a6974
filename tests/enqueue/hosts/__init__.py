"""The kinds of callers, driven alike: one small host for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.enqueue.hosts import alchemy, dbapi, django, native
from tests.enqueue.hosts.host import Host

if TYPE_CHECKING:
    from tests.enqueue.hosts.host import Opened

__all__ = ["HOSTS", "Host"]

HOSTS: dict[str, Opened] = native.HOSTS | dbapi.HOSTS | alchemy.HOSTS | django.HOSTS
"""Each opens a caller of its kind: in a transaction, or with autocommit where that is asked for."""
