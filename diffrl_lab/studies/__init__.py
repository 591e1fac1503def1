"""What was measured behind the lessons: one file, one question."""
