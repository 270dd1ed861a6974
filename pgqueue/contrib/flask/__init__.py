"""Flask: an app whose handlers run in the application's context, and `flask pgqueue ...`.

    queue = PgQueueFlask()

    def create_app():
        app = Flask(__name__)
        queue.init_app(app)
        return app

See docs/flask.md.
"""

from __future__ import annotations

from pgqueue.contrib.flask.command import flask_queue
from pgqueue.contrib.flask.extension import PgQueueFlask

__all__ = ["PgQueueFlask", "flask_queue"]
