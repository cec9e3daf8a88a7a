"""The WSGI application, for `gunicorn wsgi:app` and every other server."""

import os

from pyoci.app import create_app
from pyoci.config import Settings

app = create_app(Settings.from_environ(os.environ))
