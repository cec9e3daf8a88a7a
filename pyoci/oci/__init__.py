"""The client of OCI registries: the OCI distribution API for one caller. Independent of Python packaging."""
