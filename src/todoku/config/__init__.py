"""Config: settings, and the only place where ports meet adapters."""
