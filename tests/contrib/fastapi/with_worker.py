"""A server with a worker in each of its processes."""

from fastapi import FastAPI

from pgqueue import PgQueue
from pgqueue.contrib.fastapi import worker

api = FastAPI(lifespan=worker(PgQueue()))
