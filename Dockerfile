# One image a stage: docker build --target frontend|backend|gpu_service. Where no target is named,
# it is the last one: the API and a GPU host in one container. docs/OPERATIONS.md says more.

# What runs networks in gpu_service and lipsync-api: none (the built-in engine alone), cpu or cuda.
ARG ACCELERATOR=cpu

FROM python:3.12-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONUTF8=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# The wheels need no library that is not in this image, so nothing is installed by apt-get.
RUN useradd --uid 1000 --create-home lipsync \
    && install -d -o lipsync -g lipsync /data /weights
WORKDIR /app
# What a stage copies keeps its mode, so each opens it to the user: a checkout may be private.

FROM base AS frontend
COPY requirements/frontend.txt requirements/
RUN pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r requirements/frontend.txt
COPY contracts contracts
COPY lipsync_client lipsync_client
COPY frontend frontend
COPY samples samples
RUN chmod -R a+rX .
ENV FRONTEND_HOST=0.0.0.0 FRONTEND_PORT=5000 FRONTEND_DATA_DIR=/data/frontend
USER 1000
VOLUME ["/data"]
EXPOSE 5000
# As a container's first process, Python heeds this signal without a handler of ours.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['FRONTEND_PORT']), timeout=4); c.request('GET', '/health'); assert c.getresponse().status == 200"]
CMD ["python", "-m", "frontend"]

FROM base AS backend
COPY requirements/backend.txt requirements/
RUN pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r requirements/backend.txt
COPY contracts contracts
COPY lipsync_client lipsync_client
COPY backend backend
RUN chmod -R a+rX .
ENV BACKEND_HOST=0.0.0.0 BACKEND_PORT=8000 BACKEND_DATA_DIR=/data/backend
USER 1000
VOLUME ["/data"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['BACKEND_PORT']), timeout=4); c.request('GET', '/health/live'); assert c.getresponse().status == 200"]
CMD ["python", "-m", "backend", "serve"]

FROM base AS engines-none
COPY requirements/gpu_service.txt requirements/
RUN pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r requirements/gpu_service.txt

FROM engines-none AS engines-cpu
COPY requirements/gpu_service-openvino.txt requirements/
# PyTorch is in no lock, since its builds differ by the machine; PyPI's own would bring CUDA along.
RUN pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r requirements/gpu_service-openvino.txt \
    && pip install --no-cache-dir --only-binary :all: --extra-index-url https://download.pytorch.org/whl/cpu torch==2.13.0

FROM engines-none AS engines-cuda
RUN pip install --no-cache-dir --only-binary :all: torch==2.13.0

# hadolint ignore=DL3006
FROM engines-${ACCELERATOR} AS gpu_service
WORKDIR /app
COPY contracts contracts
COPY gpu_service gpu_service
RUN chmod -R a+rX .
ENV GPU_HOST=0.0.0.0 GPU_PORT=9000 GPU_DATA_DIR=/data/gpu GPU_WEIGHTS_DIR=/weights
USER 1000
VOLUME ["/data", "/weights"]
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['GPU_PORT']), timeout=4); c.request('GET', '/health'); assert c.getresponse().status == 200"]
CMD ["python", "-m", "gpu_service", "serve"]

FROM gpu_service AS lipsync-api
# hadolint ignore=DL3002
USER 0
WORKDIR /app
COPY requirements/backend.txt requirements/
RUN pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r requirements/backend.txt
COPY lipsync_client lipsync_client
COPY backend backend
COPY tools/__init__.py tools/processes.py tools/container.py tools/
RUN chmod -R a+rX .
ENV BACKEND_HOST=0.0.0.0 BACKEND_PORT=8000 BACKEND_DATA_DIR=/data/backend GPU_HOST=127.0.0.1
USER 1000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "import http.client, os; asked = [(http.client.HTTPConnection('127.0.0.1', int(os.environ[port]), timeout=2), path) for port, path in (('BACKEND_PORT', '/health/live'), ('GPU_PORT', '/health'))]; [c.request('GET', path) for c, path in asked]; assert all(c.getresponse().status == 200 for c, _ in asked)"]
CMD ["python", "-m", "tools.container"]
