"""Work on everything that a namespace has: copy, prune, check.

It goes straight to the registry, and no server runs. `Remote` names the place and the credentials.
"""
