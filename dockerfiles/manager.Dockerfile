# The manager as an image, for a cluster whose pods are its agents: Debian's Python, Mayfly's wheel, and nothing to build with.
#
#   scripts/manager-image
#
# The build context is a folder `wheels` with Mayfly's wheel and all that it needs, for this base's Python.

ARG BASE=debian:bookworm-slim

# hadolint ignore=DL3006
FROM ${BASE} AS python
# Package versions are the base's: an image is rebuilt to get newer ones, and its digest says what it holds.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3 \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 65532 mayfly \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin mayfly

FROM python AS installed
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY wheels/ /tmp/wheels/
RUN python3 -m venv /opt/mayfly \
    && /opt/mayfly/bin/pip install --no-cache-dir --no-index --find-links /tmp/wheels 'mayfly-ci[app,kubernetes]' \
    && /opt/mayfly/bin/pip uninstall -q -y pip setuptools

FROM python AS manager
COPY --from=installed /opt/mayfly/ /opt/mayfly/
# A volume belongs to root; the folder in it is the manager's own. A Secret's keys are its credentials.
ENV PATH=/opt/mayfly/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    STATE_DIRECTORY=/var/lib/mayfly/state \
    RUNTIME_DIRECTORY=/run/mayfly \
    CREDENTIALS_DIRECTORY=/run/credentials/mayfly
LABEL org.opencontainers.image.vendor="the Mayfly authors" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.title="Mayfly manager" \
    org.opencontainers.image.description="Keeps named slots of a Kubernetes namespace filled with single-job CI agents"
HEALTHCHECK NONE
STOPSIGNAL SIGTERM
USER 65532:65532
WORKDIR /
ENTRYPOINT ["mayfly"]
CMD ["run"]
