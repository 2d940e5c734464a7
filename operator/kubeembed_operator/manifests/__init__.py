"""Pure builders: (model, settings) -> manifest. No clock, no cluster, sorted keys, new values each time."""
