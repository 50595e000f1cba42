"""What is asked for: options, settings, data sets, losses; and what others have published."""
