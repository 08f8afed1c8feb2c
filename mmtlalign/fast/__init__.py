"""Train faster with the same numbers. Opt-in: nothing else imports this package."""
