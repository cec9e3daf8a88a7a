"""PyOCI for gunicorn, with the imported modules of its worker at /modules."""

from __future__ import annotations

import sys

from pyoci.server import application

app = application()
app.add_url_rule("/modules", view_func=lambda: sorted({name.split(".")[0] for name in sys.modules}))
