"""Each table and figure of the papers as a study: a file that says what is trained, measured and shown."""
