# SPDX-License-Identifier: Apache-2.0
"""RViz markers of the face."""
