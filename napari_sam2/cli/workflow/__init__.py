"""Steps that several commands share: sources, plans, models, exports."""
