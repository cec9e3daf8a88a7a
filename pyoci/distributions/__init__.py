"""Python packaging: names, file names, core metadata. Pure; no I/O but the file object it is given."""
