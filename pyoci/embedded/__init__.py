"""A small OCI registry over a directory of OCI image layouts: for trying, for one machine, for tests."""
