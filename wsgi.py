"""The WSGI application, for `gunicorn wsgi:app` and every other server."""

from pyoci.server import application

app = application()
