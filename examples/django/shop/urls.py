"""The pages."""

from django.contrib import admin
from django.urls import path
from orders import views

urlpatterns = [
    path("", views.orders, name="orders"),
    path("orders/<int:order_id>/", views.order, name="order"),
    path("admin/", admin.site.urls),
]
