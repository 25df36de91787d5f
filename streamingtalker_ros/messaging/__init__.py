# SPDX-License-Identifier: Apache-2.0
"""Message fields of every transport: audio in, face motion and diagnostics out; no transport is imported here."""
