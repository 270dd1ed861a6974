"""Sign up by invitation: the user and the job that writes a letter are one commit.

README.md says how to run it.
"""

import os

from flask import Flask, abort, current_app, redirect, render_template_string, request, url_for
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pgqueue.contrib.flask import PgQueueFlask


class Base(DeclarativeBase):
    """The declarative base."""


db = SQLAlchemy(model_class=Base)
queue = PgQueueFlask()  # works on Flask-SQLAlchemy's database


class Invitation(Base):
    """A code that so many people may still use."""

    __tablename__ = "invitations"
    __table_args__ = (CheckConstraint('"left" >= 0'),)
    code: Mapped[str] = mapped_column(primary_key=True)
    left: Mapped[int]


class User(Base):
    """Who signed up; the letter comes from the worker."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    code: Mapped[str] = mapped_column(ForeignKey(Invitation.code))
    letter: Mapped[str | None]


@queue.task
def write_letter(user_id: int) -> None:
    """Write the welcome letter; in the application's context, with a session of its own."""
    user = db.session.get_one(User, user_id)
    user.letter = f"Dear {user.email}, welcome to {current_app.config['CLUB']}."
    db.session.commit()


FORM = """<!doctype html><title>Sign up</title><form method="post">
<input name="email" type="email" required placeholder="E-mail">
<input name="code" required placeholder="Invitation"><button>Sign up</button></form>"""
PAGE = """{% if user.letter %}<p>{{ user.letter }}{% else %}
<meta http-equiv="refresh" content="1"><p>Your letter is being written.{% endif %}"""


def create_app() -> Flask:
    """The application, as `flask --app signup` and a WSGI server make it."""
    app = Flask(__name__)
    app.config["CLUB"] = "the club"
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["SQLALCHEMY_DATABASE_URI"]
    db.init_app(app)
    queue.init_app(app)

    @app.cli.command("init-db")
    def init_db() -> None:
        """Make the tables, and an invitation for two."""
        db.create_all()
        db.session.merge(Invitation(code="friends", left=2))
        db.session.commit()

    @app.get("/")
    def form() -> str:
        return FORM

    @app.post("/")
    def sign_up() -> ResponseReturnValue:
        invitation = db.session.get(Invitation, request.form["code"]) or abort(404)
        user = User(email=request.form["email"], code=invitation.code)
        try:
            db.session.add(user)
            db.session.flush()  # the user has an id now
            write_letter.using(db.session).enqueue(user.id)
            invitation.left = Invitation.left - 1
            db.session.commit()  # user, invitation and job; or none of them
        except IntegrityError:
            db.session.rollback()
            abort(409, "this e-mail is known already, or the invitation is used up")
        return redirect(url_for("show_user", user_id=user.id), 303)

    @app.get("/users/<int:user_id>")
    def show_user(user_id: int) -> str:
        return render_template_string(PAGE, user=db.get_or_404(User, user_id))

    return app
