"""Who may use which subject, the tokens that say so, and the first set-up of a network."""
