FROM python:3.11-slim-bookworm

# Build of torch, as in teacher.Dockerfile.
ARG TORCH_BACKEND=""
ARG UV_VERSION=0.13.9

ENV VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH
WORKDIR /app
COPY docker/install docker/client.lock ./
RUN --mount=type=cache,target=/root/.cache sh ./install client.lock "$TORCH_BACKEND" "$UV_VERSION"
COPY cache ./cache
COPY student ./student
COPY docker/client-entrypoint ./

# The uid is that of the vendor's user, whose key file only its owner can read. A new volume takes
# the owner and the mode of the folder that it is mounted on.
RUN useradd --uid 10001 --user-group --create-home client \
    && install -d -o client -g client /paid /runs /demo /data \
    && install -d -o client -g client -m 700 /keys
USER 10001
VOLUME ["/paid", "/runs", "/demo"]
ENV DISTILL_CACHE=/paid \
    DISTILL_OUT=/runs/student \
    DISTILL_DATA=/data \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp \
    HF_HOME=/runs/weights
WORKDIR /work
ENTRYPOINT ["sh", "/app/client-entrypoint"]
