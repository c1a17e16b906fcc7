FROM python:3.11-slim-bookworm

# Build of torch: "" installs the default build with its locked hashes (CUDA on x86-64; it also runs
# on a CPU). "cpu", "cu126", … install that build from PyTorch's own index.
ARG TORCH_BACKEND=""
ARG UV_VERSION=0.13.9

ENV VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH
WORKDIR /app
COPY docker/install docker/teacher.lock ./
RUN --mount=type=cache,target=/root/.cache sh ./install teacher.lock "$TORCH_BACKEND" "$UV_VERSION"
COPY teacher_server ./teacher_server

# The uid is that of the client's user, which reads the first key. A new volume takes the owner and
# the mode of the folder that it is mounted on.
RUN useradd --uid 10001 --user-group --no-create-home vendor \
    && install -d -o vendor -g vendor /vendor \
    && install -d -o vendor -g vendor -m 700 /keys
USER 10001
VOLUME /vendor
ENV HF_HOME=/vendor/weights \
    TEACHER_HOST=0.0.0.0 \
    TEACHER_DATABASE=sqlite:////vendor/ledger.db \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
EXPOSE 8000
CMD ["python", "-m", "teacher_server", "serve"]
