"""The verbs of the command. `commands.VERBS` lists them; each module is imported when its verb is used."""
