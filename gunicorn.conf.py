# A plain `gunicorn wsgi:app` is set up right: all of it comes from the package.
from pyoci.server import *  # noqa: F403
