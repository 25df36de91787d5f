# SPDX-License-Identifier: Apache-2.0
"""Web server: audio in and face frames out over a WebSocket; all sessions are stepped as one batch.

Needs the extra `web`. The source of the page is the folder `frontend/` beside the package.
"""
