"""How fast PyOCI is, and how much memory it takes, beside others. README.rst says what each row means."""
