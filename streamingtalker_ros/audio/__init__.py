"""Any audio payload to 16 kHz mono float32 with a clock."""
