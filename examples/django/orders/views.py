"""The pages: order something, and see what became of it."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from orders.models import Order
from orders.tasks import write_receipt


def orders(request: HttpRequest) -> HttpResponse:
    """List the orders; a POST makes one."""
    if request.method == "POST":
        return redirect("order", place_order(request.POST["item"]).pk)
    return render(request, "orders/list.html", {"orders": Order.objects.order_by("-pk")[:20]})


def place_order(item: str) -> Order:
    """Write the order and enqueue its receipt: both commit, or neither was."""
    with transaction.atomic():
        order = Order.objects.create(item=item)
        order.task_id = write_receipt.enqueue(order.pk).id
        order.save(update_fields=["task_id"])
        if item == "unicorn":
            raise ValueError("out of unicorns: the order and its task are rolled back")
    return order


def order(request: HttpRequest, order_id: int) -> HttpResponse:
    """Show an order and the state of its task."""
    found = get_object_or_404(Order, pk=order_id)
    result = write_receipt.get_result(found.task_id)
    found.refresh_from_db(fields=["receipt"])  # the task may have ended between the two
    return render(request, "orders/order.html", {"order": found, "result": result})
