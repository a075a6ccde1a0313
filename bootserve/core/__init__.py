"""Pure functions on model types: snapshot, pin resolution, offers, scripts, transactions."""
