"""The verbs of the command: each module has one `command`. `commands.VERBS` lists them."""
