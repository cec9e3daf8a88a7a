"""Python packaging: names, file names and core metadata. Reads nothing but the files that it is given."""
