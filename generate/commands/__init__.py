"""The subcommands of nlbs-generate: options in, one function call out. Imports torch when a command runs."""
