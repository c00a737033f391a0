"""The local page of ``nlbs-preprocess view``: a shard set, its dataset root and training runs, looked at in a browser.

``server`` listens on the loopback alone and lets nobody in without the token; ``routes`` answers; ``dataset`` and
``runs`` read what is on disk, and nothing here writes. Starlette and uvicorn are the extra ``view``.
"""
