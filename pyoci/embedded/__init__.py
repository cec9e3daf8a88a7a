"""A small OCI registry over a directory of OCI image layouts, for trials, single machines and tests.

`create_blueprint` serves it below /v2/ of another application, `create_registry_app` within the process.
`gc` collects its garbage, `remove_expired_uploads` a part of it. `Htpasswd` and `refusal_for_remote_peer`
decide who has access; `identity` names the registry; `body_limit` limits requests' bodies.
"""

from pyoci.embedded.access import Htpasswd, refusal_for_remote_peer
from pyoci.embedded.blueprint import Describe, body_limit, create_blueprint, create_registry_app
from pyoci.embedded.garbage import Collected, gc, remove_expired_uploads
from pyoci.embedded.storage import identity

__all__ = [
    "Collected",
    "Describe",
    "Htpasswd",
    "body_limit",
    "create_blueprint",
    "create_registry_app",
    "gc",
    "identity",
    "refusal_for_remote_peer",
    "remove_expired_uploads",
]
