# pgqueue with the migrations, for one-shot jobs and as a base for an application's workers:
#   FROM pgqueue
#   COPY . /app
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY pgqueue pgqueue
COPY migrations migrations
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim AS pgqueue
COPY --from=build /wheels /wheels
RUN wheel=$(ls /wheels/*.whl) \
    && pip install --no-cache-dir "$wheel[binary]" \
    && rm -r /wheels \
    && useradd --system --create-home --uid 10001 pgqueue
WORKDIR /app
USER pgqueue
ENTRYPOINT ["pgqueue"]
CMD ["--help"]

# examples/fastapi, as docker-compose.yml runs it: --target example
FROM pgqueue AS example
USER root
RUN pip install --no-cache-dir 'fastapi>=0.121' sqlmodel uvicorn python-multipart
COPY examples/fastapi /app
USER pgqueue

# What is built without --target.
FROM pgqueue
