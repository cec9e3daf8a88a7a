"""Where Python packages and the registry meet: the domain."""
