# syntax=docker/dockerfile:1
#
# The serving image: the server and the client, without torch or any training library.
#
#   docker build -t steersman .
#   docker run --read-only --tmpfs /tmp -p 50051:50051 -p 8080:8080 \
#     -v "$PWD/bundles:/bundles:ro" -v steersman-state:/var/lib/steersman steersman
#
# Options of `steersman serve` may follow the image's name and take the place of those in CMD below.

ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS builder
WORKDIR /src
COPY . .
RUN sh deploy/docker/install.sh /src /opt/steersman

FROM python:${PYTHON}
COPY --from=builder /opt/steersman /opt/steersman
# A number, so that Kubernetes can tell that it is not root. The state folder belongs to it.
RUN install -d -o 65532 -g 65532 /var/lib/steersman && install -d /bundles
USER 65532:65532
WORKDIR /var/lib/steersman
# PYTHONSAFEPATH is `python -P` for every process: nothing is imported from the current folder.
ENV PATH=/opt/steersman/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_STATE_HOME=/var/lib
VOLUME ["/bundles", "/var/lib/steersman"]
# gRPC; HTTP with /metrics and health
EXPOSE 50051 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["steersman-health"]
ENTRYPOINT ["steersman", "serve"]
CMD ["--repository", "/bundles", "--host", "0.0.0.0", "--http-host", "0.0.0.0"]
