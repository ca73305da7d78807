"""What several commands share: sources, plans, models, exports."""
