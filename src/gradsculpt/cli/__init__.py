"""The commands: thin, and importing what is heavy only when a command needs it."""
