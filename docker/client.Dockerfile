FROM python:3.11-slim-bookworm

# As in teacher.Dockerfile: "" for the registry's locked build of torch, or "cpu", "cu126", …
ARG TORCH_BACKEND=""
ARG UV_VERSION=0.13.9

ENV VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH
WORKDIR /app
COPY docker/install docker/client.lock ./
RUN --mount=type=cache,target=/root/.cache sh ./install client.lock "$TORCH_BACKEND" "$UV_VERSION"
COPY cache ./cache
COPY student ./student

RUN useradd --uid 10001 --create-home client && mkdir /paid /runs && chown client /paid /runs
USER 10001
VOLUME ["/paid", "/runs"]
ENV DISTILL_CACHE=/paid \
    DISTILL_OUT=/runs/student \
    DISTILL_DATA=/data \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp \
    HF_HOME=/runs/weights
WORKDIR /work
ENTRYPOINT ["python", "-m", "student"]
