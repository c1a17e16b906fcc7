"""The admin subcommands of `teacher-server`: keys and ledger."""
