"""FastAPI: a request's jobs in its own transaction, and a worker for development.

    SessionDep = Annotated[Session, Depends(get_session, scope="function")]
    JobsDep = Annotated[Jobs, enqueuer(queue, SessionDep)]
    api = FastAPI(lifespan=worker(queue))

See docs/fastapi.md.
"""

from __future__ import annotations

from pgqueue.contrib.fastapi.dependency import Jobs, enqueuer
from pgqueue.contrib.fastapi.lifespan import worker

__all__ = ["Jobs", "enqueuer", "worker"]
