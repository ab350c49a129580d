# Phaya as an image: the API and the worker, as a user without rights, writing to /data alone.
#   docker build --tag phaya:0.1.0 .
ARG PYTHON=3.12-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /src
COPY pyproject.toml requirements.lock README.md ./
COPY src src
# [youtube] brings the JavaScript runtime that YouTube's pages need, 42 MB.
ARG EXTRAS=""
# Every dependency comes as a wheel whose hash is in requirements.lock, so nothing is compiled and nothing else gets in;
# this stage's pip stays behind.
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && wheel="$(echo /wheels/phaya-*.whl)" \
 && echo "phaya${EXTRAS} @ file://$wheel --hash=sha256:$(sha256sum "$wheel" | cut -d ' ' -f 1)" > /wheels/phaya.txt \
 && python -m venv --without-pip /opt/phaya \
 && pip --python /opt/phaya/bin/python install --no-cache-dir --only-binary :all: --require-hashes \
    --constraint requirements.lock --requirement /wheels/phaya.txt

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="Phaya" \
      org.opencontainers.image.description="Self-hosted backend that sells AI media generation and chat" \
      org.opencontainers.image.version="0.1.0"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin phaya \
 && install --directory --owner phaya --group phaya --mode 0700 /data
COPY --from=build /opt/phaya /opt/phaya
# Uploads pass through TMPDIR: on the volume they take no memory, and the root file system may be read-only.
ENV PATH=/opt/phaya/bin:$PATH \
    PHAYA_DATA_DIR=/data \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/data
USER phaya
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-S", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["phaya"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
