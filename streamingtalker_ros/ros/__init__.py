"""The rclpy adapters: lifecycle talker, RViz markers, robot head and audio player nodes."""
