"""Kept bytes: where what was asked for is remembered, and how all who share it learn of a change."""
