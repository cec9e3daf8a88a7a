"""The simple repository API: one model of a project's page, its writers and its parser. No I/O."""
