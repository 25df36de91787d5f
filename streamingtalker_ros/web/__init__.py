# SPDX-License-Identifier: Apache-2.0
"""The web platform: one small asynchronous server, audio in and frames out over a WebSocket, every visitor a voice of
one batch. Needs the extra `web`; the page's source is the folder `web/` beside the package."""
