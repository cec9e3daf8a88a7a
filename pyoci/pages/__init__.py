"""Pages for people: HTML of package indexes, projects, refusals and the home page. Knows no requests."""
