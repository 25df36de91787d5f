"""Recordings: reading and writing rosbag2 files, and their replay."""
