"""Face motion from video: track landmarks, find the speaker's neutral, solve for the 52 shapes, cut clips."""
