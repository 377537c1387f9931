# The daemon and the simulator; no embedded broker, no tool for tests, no compiler.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" -t defender-ingest .
#
# Pin the base with --build-arg PYTHON=3.11-slim-bookworm@sha256:… where builds must be the same for ever.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /src
COPY requirements/build.txt requirements/run.txt requirements/
# Hashed wheels alone: nothing of a stranger's is run to build. What runs has no pip.
RUN python3 -m venv /build \
    && /build/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes --only-binary :all: -r requirements/build.txt \
    && python3 -m venv --without-pip /opt/defender-ingest \
    && /build/bin/python -m pip --python /opt/defender-ingest/bin/python install --no-cache-dir \
        --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/run.txt
COPY pyproject.toml README.md ./
COPY ingest ingest
RUN /build/bin/python -m pip wheel --no-cache-dir --disable-pip-version-check --no-deps \
        --no-build-isolation --wheel-dir /wheels . \
    && /build/bin/python -m pip --python /opt/defender-ingest/bin/python install --no-cache-dir \
        --disable-pip-version-check --no-deps --no-index --find-links /wheels defender-ingest

FROM python:${PYTHON}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="defender-ingest" \
      org.opencontainers.image.description="Every Defender alert of every customer, in Kafka, once." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/defender-ingest /opt/defender-ingest
# The root is read-only in use: modules were compiled above, and nothing is written beside them.
ENV PATH=/opt/defender-ingest/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
# By number: Kubernetes can then tell that it is not root.
USER 10001:10001
EXPOSE 9464
ENTRYPOINT ["defender-ingest"]
CMD ["run", "--config", "/etc/defender-ingest/daemon.yaml"]
