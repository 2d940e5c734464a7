"""Bodies of requests -> the runtime's own values -> replies: one file per wire contract. No torch here."""
