"""What runs in the background."""

from orders.models import Order
from pgqueue import exponential
from pgqueue.contrib.django import job_options

try:
    from django.tasks import task
except ImportError:  # Django 5.2
    from django_tasks import task


@job_options(timeout=30, retry=exponential(base=1, max=60))
@task(queue_name="mail")
def write_receipt(order_id: int) -> str:
    """Write an order's receipt; the text is the task's result."""
    order = Order.objects.get(pk=order_id)
    order.receipt = f"1 x {order.item}: thank you for order {order.pk}"
    order.save(update_fields=["receipt"])
    return order.receipt
