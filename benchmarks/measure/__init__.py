"""What trains, times and counts."""
