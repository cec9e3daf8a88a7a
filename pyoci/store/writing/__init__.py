"""The write path: publish, yank, delete."""
