FROM python:3.11-slim-bookworm

# "" takes the registry's build of torch (CUDA on x86-64, runs on a CPU too) with its locked hashes;
# "cpu", "cu126", … let uv pick that build of the two torch packages from PyTorch's own index.
ARG TORCH_BACKEND=""
ARG UV_VERSION=0.13.9

ENV VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH
WORKDIR /app
COPY docker/install docker/teacher.lock ./
RUN --mount=type=cache,target=/root/.cache sh ./install teacher.lock "$TORCH_BACKEND" "$UV_VERSION"
COPY teacher_server ./teacher_server

RUN useradd --uid 10001 --no-create-home vendor && mkdir /vendor && chown vendor /vendor
USER 10001
VOLUME /vendor
ENV HF_HOME=/vendor/weights \
    TEACHER_HOST=0.0.0.0 \
    TEACHER_DATABASE=sqlite:////vendor/ledger.db \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
EXPOSE 8000
CMD ["python", "-m", "teacher_server", "serve"]
