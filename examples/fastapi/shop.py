"""A shop: the order and the job that writes its receipt are one commit.

README.md says how to run it.
"""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from html import escape
from typing import Annotated

from fastapi import Depends, FastAPI, Form, HTTPException
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import CheckConstraint
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, Session, SQLModel, create_engine, select

from pgqueue import JobContext, PgQueue
from pgqueue.contrib.fastapi import Jobs, enqueuer, worker

queue = PgQueue()  # PGQUEUE_DATABASE_URL or DATABASE_URL
engine = create_engine(queue.dsn.replace("postgresql://", "postgresql+psycopg://", 1))


class Stock(SQLModel, table=True):
    """How many pieces of an item are left."""

    __table_args__ = (CheckConstraint('"left" >= 0'),)
    item: str = Field(primary_key=True)
    left: int


class Order(SQLModel, table=True):
    """What somebody has ordered; the receipt comes from the worker."""

    __tablename__ = "orders"
    id: int = Field(default=None, primary_key=True)  # given by the database
    item: str = Field(foreign_key="stock.item")
    quantity: int
    receipt: str | None = None


@queue.task(transactional=True)  # what it writes and its success are one commit
def write_receipt(context: JobContext, order_id: int) -> None:
    """Write the receipt of an order."""
    context.connection.execute(
        "update orders set receipt = format('%%s of %%s, job %%s', quantity, item, %s::text) "
        "where id = %s",
        [context.id, order_id],
    )


def get_session() -> Iterator[Session]:
    """A session that is one transaction: committed at its end, rolled back by an exception."""
    with Session(engine) as session, session.begin():
        yield session


# scope="function": the commit comes before the response, so a commit that fails is a 500.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
JobsDep = Annotated[Jobs, enqueuer(queue, SessionDep)]


@asynccontextmanager
async def tables(_api: FastAPI) -> AsyncIterator[None]:
    """Make the tables, and fill the shelves, when the server starts."""
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        for item, left in (("tea", 5), ("cup", 2)):
            if session.get(Stock, item) is None:
                session.add(Stock(item=item, left=left))
    yield


inside = os.environ.get("WORKER") == "inside"  # for development: no second process
api = FastAPI(lifespan=worker(queue, lifespan=tables) if inside else tables)


@api.get("/", response_class=HTMLResponse)
def shelves(session: SessionDep) -> str:
    """The shelves, and a form to order from them."""
    options = "".join(
        f"<option value='{escape(each.item)}'>{escape(each.item)} ({each.left} left)</option>"
        for each in session.exec(select(Stock).order_by(Stock.item))
    )
    return f"""<!doctype html><title>Shop</title><form method="post" action="/orders">
        <select name="item">{options}</select>
        <input name="quantity" type="number" min="1" value="1"><button>Order</button></form>"""


@api.post("/orders")
def place_order(
    session: SessionDep,
    jobs: JobsDep,
    item: Annotated[str, Form()],
    quantity: Annotated[int, Form(gt=0)],
) -> RedirectResponse:
    """Take an order: all of it, or nothing."""
    stock = session.get(Stock, item)
    if stock is None:
        raise HTTPException(404, f"we do not sell {item}")
    order = Order(item=item, quantity=quantity)
    session.add(order)
    session.flush()  # the order has its id now
    jobs.enqueue(write_receipt, order.id)
    try:
        stock.left = Stock.left - quantity
        session.flush()
    except IntegrityError:  # the exception below rolls back: no order, and no job
        raise HTTPException(409, f"there is not enough {item} left") from None
    return RedirectResponse(f"/orders/{order.id}", 303)


@api.get("/orders/{order_id}", response_class=HTMLResponse)
def show_order(session: SessionDep, order_id: int) -> str:
    """The order, with its receipt once the worker has written it."""
    order = session.get(Order, order_id)
    if order is None:
        raise HTTPException(404, "no such order")
    if order.receipt is None:
        return "<meta http-equiv='refresh' content='1'><p>Your receipt is being written."
    return f"<p>Your receipt: {escape(order.receipt)}"
