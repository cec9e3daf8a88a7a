# PyOCI in a container. docs/deploy.rst says how to run it, and what of this was tried.
FROM python:3.13-slim AS build

WORKDIR /src
COPY pyproject.toml setup.cfg README.rst LICENSE ./
COPY pyoci ./pyoci
# The environment gets no pip of its own; modules are compiled here, for nobody can write there later.
RUN python -m venv --without-pip /opt/pyoci
RUN python -m pip --python /opt/pyoci/bin/python install --no-cache-dir '.[fast]'


FROM python:3.13-slim

LABEL org.opencontainers.image.title="PyOCI" \
      org.opencontainers.image.description="A private Python package index that keeps its packages in an OCI registry" \
      org.opencontainers.image.licenses="MIT"

# Neither pip nor anything that builds. /data is for those who set PYOCI_EMBEDDED=/data.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && mkdir /data \
    && chown 10001:10001 /data
COPY --from=build /opt/pyoci /opt/pyoci

ENV PATH=/opt/pyoci/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PORT=8080

# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /
EXPOSE 8080
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8080), timeout=4); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]

CMD ["gunicorn", "-c", "python:pyoci.server", "pyoci.server:application()"]
