"""Flask: translates between HTTP and the store, and decides nothing."""
