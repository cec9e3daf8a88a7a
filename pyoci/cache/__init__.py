"""A cache of bytes: in memory, files or Redis, with journals that tell all its users of changes."""
