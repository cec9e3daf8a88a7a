"""The registry: the OCI distribution API as one caller sees it. Has never heard of Python packages."""
