"""The web app and its HTTP API: the only part of the package that imports a web framework.

A request goes through `guard` (hosts, headers, time), `uploads` (bytes to a photo, within limits)
and `engine` (a pool for what the host does, one thread for the device) to `files`. `sessions` keep
for a few minutes, in memory, what the page needs to make a mesh again; nothing goes to a disk.
"""
