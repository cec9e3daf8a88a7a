"""The client of OCI registries: the OCI distribution API for one caller. It knows no Python packages."""
