"""A cache of bytes: in memory, files or Redis, with journals that report changes to all its users."""
